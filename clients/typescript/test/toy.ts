/** A small gRPC-Web server that answers, refuses, or breaks off as a test tells it. */
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { AnySchema, anyPack } from "@bufbuild/protobuf/wkt";

const DATA = 0;
const TRAILERS = 0x80;

/** What a test does with a call. */
export class Call {
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
  readonly gone: Promise<unknown>;
  readonly #response: ServerResponse;

  constructor(method: string, headers: IncomingHttpHeaders, body: Uint8Array, response: ServerResponse) {
    this.method = method;
    this.headers = headers;
    this.body = body;
    this.#response = response;
    this.gone = once(response, "close");
    response.setHeader("content-type", "application/grpc-web+proto");
    response.setHeader("x-request-id", "toy-request");
  }

  request<T extends DescMessage>(schema: T): MessageShape<T> {
    return fromBinary(schema, this.body.subarray(5));
  }

  get token(): string | undefined {
    return this.headers.authorization?.replace("Bearer ", "");
  }

  header(name: string, value: string): void {
    this.#response.setHeader(name, value);
  }

  send<T extends DescMessage>(schema: T, message: MessageInitShape<T>): Promise<void> {
    return this.#write(frame(DATA, toBinary(schema, create(schema, message))));
  }

  /** Ends well. */
  async end(): Promise<void> {
    await this.#write(frame(TRAILERS, new TextEncoder().encode("grpc-status: 0\r\n")));
    this.#response.end();
  }

  /** Answers with one message. */
  async answer<T extends DescMessage>(schema: T, message: MessageInitShape<T>): Promise<void> {
    await this.send(schema, message);
    await this.end();
  }

  /** Ends the answer as HTTP wants it, without gRPC's trailers. */
  endWithoutTrailers(): void {
    this.#response.end();
  }

  /** Ends the connection in the middle. */
  cut(): void {
    if (!this.#response.headersSent) this.#response.socket?.destroy();
    else this.#response.socket?.end();
  }

  /** Refuses, as the edge does: status and details in the headers of an answer without a body. */
  refuse(code: number, message: string, details: [DescMessage, object][] = [], headers: Record<string, string> = {}): void {
    this.header("grpc-status", String(code));
    this.header("grpc-message", encodeURIComponent(message));
    for (const [name, value] of Object.entries(headers)) this.header(name, value);
    if (details.length > 0) this.header("grpc-status-details-bin", statusDetails(code, message, details));
    this.#response.end();
  }

  /** Refuses after some messages: status and details in the trailers. */
  async fail(code: number, message: string, details: [DescMessage, object][] = []): Promise<void> {
    const lines = [`grpc-status: ${code}`, `grpc-message: ${encodeURIComponent(message)}`];
    if (details.length > 0) lines.push(`grpc-status-details-bin: ${statusDetails(code, message, details)}`);
    await this.#write(frame(TRAILERS, new TextEncoder().encode(`${lines.join("\r\n")}\r\n`)));
    this.#response.end();
  }

  /** Answers in plain HTTP, as a proxy does that knows nothing of gRPC. */
  plain(status: number, body: string): void {
    this.#response.writeHead(status, { "content-type": "text/html" }).end(body);
  }

  #write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => void this.#response.write(bytes, () => resolve()));
  }
}

function frame(flags: number, payload: Uint8Array): Uint8Array {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags, 0);
  head.writeUInt32BE(payload.length, 1);
  return Buffer.concat([head, payload]);
}

/** google.rpc.Status as it travels: base64 without padding. */
function statusDetails(code: number, message: string, details: [DescMessage, object][]): string {
  const writer = new BinaryWriter().tag(1, WireType.Varint).int32(code).tag(2, WireType.LengthDelimited).string(message);
  for (const [schema, detail] of details) {
    const any = toBinary(AnySchema, anyPack(schema, create(schema, detail as never)));
    writer.tag(3, WireType.LengthDelimited).bytes(any);
  }
  return Buffer.from(writer.finish()).toString("base64").replace(/=+$/, "");
}

export interface Toy {
  readonly url: string;
  readonly calls: Call[];
  /** Answers the next calls, in order; the last one all after it. */
  readonly will: (...answers: ((call: Call) => unknown)[]) => void;
  readonly close: () => Promise<void>;
}

export async function startToy(): Promise<Toy> {
  const calls: Call[] = [];
  let answers: ((call: Call) => unknown)[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const call = new Call(request.url?.split("/").at(-1) ?? "", request.headers, Buffer.concat(chunks), response);
      calls.push(call);
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      void answer?.(call);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    will: (...all) => {
      answers = all;
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** Time that passes only by sleeping, and chance that is always the same. */
export function fakeTiming() {
  const waits: number[] = [];
  let now = 0;
  return {
    waits,
    now: () => now,
    random: () => 1,
    sleep: async (ms: number) => {
      waits.push(ms);
      now += ms;
    },
  };
}

/** What `call` throws. */
export async function thrown(call: () => Promise<unknown>): Promise<unknown> {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

export async function collect<T>(stream: AsyncIterable<T>, into: T[] = []): Promise<T[]> {
  for await (const message of stream) into.push(message);
  return into;
}
