import type {
  DescMessage,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
} from "@bufbuild/protobuf";
import type { CallOptions, Client, Transport } from "@connectrpc/connect";

/**
 * The typed client of a service. Unlike Connect's own, whose iterators cannot be ended, leaving a `for await` early ends
 * the call: the mesh, and the provider behind it, then stop.
 */
export function createServiceClient<S extends DescService>(service: S, transport: Transport): Client<S> {
  const methods: Record<string, unknown> = {};
  for (const method of service.methods) {
    if (method.methodKind === "unary") {
      methods[method.localName] = async (request: MessageInitShape<DescMessage>, options: CallOptions = {}) => {
        const { signal, timeoutMs, headers, onHeader, onTrailer } = options;
        const answer = await transport.unary(method as DescMethodUnary, signal, timeoutMs, headers, request);
        onHeader?.(answer.header);
        onTrailer?.(answer.trailer);
        return answer.message;
      };
    } else if (method.methodKind === "server_streaming") {
      methods[method.localName] = async function* (request: MessageInitShape<DescMessage>, options: CallOptions = {}) {
        const { signal, timeoutMs, headers, onHeader, onTrailer } = options;
        const answer = await transport.stream(method as DescMethodServerStreaming, signal, timeoutMs, headers, one(request));
        onHeader?.(answer.header);
        yield* answer.message;
        onTrailer?.(answer.trailer);
      };
    }
  }
  return methods as Client<S>;
}

async function* one<T>(request: T): AsyncGenerator<T> {
  yield request;
}
