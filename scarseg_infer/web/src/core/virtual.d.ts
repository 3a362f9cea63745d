declare module "virtual:series_rules" {
  const table: {
    least_score: number;
    facts: Record<string, { points: number; says: string }>;
    contrast_agent: { absent: string[] };
    sign: { id: string; points: number; says: string; words?: string[]; tokens?: string[] }[];
    kind: { name: string; words?: string[]; tokens?: string[]; forms?: string[] }[];
  };
  export default table;
}
declare module "virtual:report" {
  /** Parts of the report page of the product. */
  export const template: string;
  export const style: string;
  export const script: string;
  /** `sha256-…` of the script, for the policy of the page. */
  export const scriptHash: string;
  export const version: string;
}
