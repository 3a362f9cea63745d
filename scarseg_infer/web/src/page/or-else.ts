/** Fallback of a session whose graphics processor fails. */

import type { Session } from "../core/index";

/** The first session; the second where that fails, as when the graphics processor is taken away. */
export function orElse(fast: Session, sure: Session): Session {
  const session: Session = {
    ...fast,
    async run(inputs) {
      session.provider = fast.provider;
      try {
        return await fast.run(inputs);
      } catch {
        session.provider = sure.provider;
        return sure.run(inputs);
      }
    },
  };
  return session;
}
