import type {
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { CallOptions, Transport } from "./transport.js";

/** The typed client of a service: a promise for each unary method, an async iterable for each that streams. */
export type ServiceClient<S extends DescService> = {
  readonly [K in keyof S["method"]]: S["method"][K] extends DescMethodUnary<infer I, infer O>
    ? (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
    : S["method"][K] extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageInitShape<I>, options?: CallOptions) => AsyncIterable<MessageShape<O>>
      : never;
};

export function createServiceClient<S extends DescService>(service: S, transport: Transport): ServiceClient<S> {
  const methods: Record<string, unknown> = {};
  for (const method of service.methods) {
    const call = method.methodKind === "unary" ? transport.unary : transport.stream;
    methods[method.localName] = (request: Record<string, unknown>, options: CallOptions = {}) =>
      call(method as never, request, options);
  }
  return methods as ServiceClient<S>;
}
