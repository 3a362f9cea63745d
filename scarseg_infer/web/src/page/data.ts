/** Parts that lie in the page as text: base64 of gzip. */

export async function part(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const element = document.getElementById(`data-${name}`)!;
  const packed = decoded(element.textContent!);
  element.remove(); // its text is not needed again
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function decoded(text: string): Uint8Array<ArrayBuffer> {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}
