/**
 * gRPC-Web over fetch, as the edge serves it: a POST whose answer is frames of messages and, last, a frame of trailers.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
 */
import { fromBinary, type DescMessage, type DescMethod, type MessageShape } from "@bufbuild/protobuf";
import { answerUnreadable, connectionFailed, errorFromHttp, errorFromStatus } from "./errors.js";

const HEAD_BYTES = 5;
const COMPRESSED = 0x01;
const TRAILERS = 0x80;

/** What is sent, once. */
export interface Sending {
  readonly baseUrl: string;
  readonly fetch: typeof globalThis.fetch;
  readonly method: DescMethod;
  readonly body: Uint8Array;
  readonly headers: Headers;
  /** Told to the mesh, so that it refuses what it cannot finish; 0: none. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** An answer whose headers are there. `trailer` fills when the messages have been read. */
export interface Receiving<O extends DescMessage> {
  readonly header: Headers;
  readonly trailer: Headers;
  readonly requestId: string;
  readonly messages: AsyncGenerator<MessageShape<O>, void, undefined>;
}

/** The bytes of a request. */
export function frame(message: Uint8Array): Uint8Array {
  const framed = new Uint8Array(HEAD_BYTES + message.length);
  new DataView(framed.buffer).setUint32(1, message.length);
  framed.set(message, HEAD_BYTES);
  return framed;
}

/** Sends a call. Throws PromptmeshError, or whatever fetch throws when the signal is aborted. */
export async function send<O extends DescMessage>(sending: Sending, output: O): Promise<Receiving<O>> {
  // Taken out of its object: a browser's fetch refuses to be called as another object's method.
  const { baseUrl, fetch, method, headers, timeoutMs, signal } = sending;
  headers.set("content-type", "application/grpc-web+proto");
  headers.set("x-grpc-web", "1");
  if (timeoutMs > 0) headers.set("grpc-timeout", `${timeoutMs}m`);
  const url = `${baseUrl.replace(/\/+$/, "")}/${method.parent.typeName}/${method.name}`;
  let answer: Response;
  try {
    const body = sending.body as Uint8Array<ArrayBuffer>;
    answer = await fetch(url, { method: "POST", headers, body, signal, redirect: "error" });
  } catch (caught) {
    throw connectionFailed("", caught);
  }
  const header = answer.headers;
  const requestId = header.get("x-request-id") ?? "";
  // An answer without messages may carry its status among the headers.
  throwUnlessOk(header, requestId);
  const known = header.get("content-type")?.startsWith("application/grpc-web");
  if (!known || !answer.ok) throw errorFromHttp(answer.status, header);
  const trailer = new Headers();
  return { header, trailer, requestId, messages: receive(answer, output, trailer, requestId) };
}

async function* receive<O extends DescMessage>(
  answer: Response,
  output: O,
  trailer: Headers,
  requestId: string,
): AsyncGenerator<MessageShape<O>, void, undefined> {
  let whole = answer.headers.has("grpc-status");
  for await (const [flags, payload] of frames(answer.body, requestId)) {
    if (flags & COMPRESSED) throw answerUnreadable(requestId, "it is compressed, which was not asked for");
    if (flags & TRAILERS) {
      for (const line of new TextDecoder().decode(payload).split("\r\n")) {
        const colon = line.indexOf(":");
        if (colon > 0) trailer.append(line.slice(0, colon), line.slice(colon + 1).trim());
      }
      throwUnlessOk(trailer, requestId);
      whole = trailer.has("grpc-status");
    } else {
      let message: MessageShape<O>;
      try {
        message = fromBinary(output, payload);
      } catch (caught) {
        throw answerUnreadable(requestId, String(caught));
      }
      yield message;
    }
  }
  // Without trailers it was cut, even where HTTP saw an orderly end.
  if (!whole) throw connectionFailed(requestId);
}

async function* frames(
  body: ReadableStream<Uint8Array> | null,
  requestId: string,
): AsyncGenerator<[flags: number, payload: Uint8Array], void, undefined> {
  if (body === null) return;
  const reader = body.getReader();
  let chunks: Uint8Array[] = [];
  let held = 0;
  let needed = HEAD_BYTES;
  for (;;) {
    let read: ReadableStreamReadResult<Uint8Array>;
    try {
      read = await reader.read();
    } catch (caught) {
      throw connectionFailed(requestId, caught);
    }
    if (read.done) break;
    chunks.push(read.value);
    held += read.value.length;
    if (held < needed) continue; // a large message is put together once, not with every piece
    let bytes = chunks.length === 1 ? read.value : join(chunks, held);
    for (;;) {
      needed = HEAD_BYTES;
      if (bytes.length < needed) break;
      const head = new DataView(bytes.buffer, bytes.byteOffset, HEAD_BYTES);
      needed += head.getUint32(1);
      if (bytes.length < needed) break;
      yield [head.getUint8(0), bytes.subarray(HEAD_BYTES, needed)];
      bytes = bytes.subarray(needed);
    }
    chunks = [bytes];
    held = bytes.length;
  }
  if (held > 0) throw connectionFailed(requestId);
}

function join(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const joined = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    joined.set(chunk, at);
    at += chunk.length;
  }
  return joined;
}

function throwUnlessOk(headers: Headers, requestId: string): void {
  const status = headers.get("grpc-status");
  if (status !== null && status !== "0") throw errorFromStatus(Number(status), headers, requestId);
}
