/** A new id for `requestId` of a create: with it the call may be repeated without making a second one. UUIDv4. */
export function newRequestId(): string {
  // randomUUID is not there on plain HTTP pages, and nothing of crypto in Node 18. An id need not be secret.
  const bytes = new Uint8Array(16);
  if (typeof crypto === "undefined") bytes.forEach((_, at) => (bytes[at] = Math.random() * 256));
  else crypto.getRandomValues(bytes);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
