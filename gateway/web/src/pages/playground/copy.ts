/* A call in other languages, to be pasted into a shell or a program. Whatever stands in a prompt stays a text there: each
   language's strings are made here and nowhere else, and no secret is in any of them. */
import type { Asked, Role } from "./request";

export interface Snippet {
  key: "curl" | "openai" | "python" | "typescript" | "buf";
  label: string;
  code: string;
}

const KEY = "PROMPTMESH_API_KEY";

/** The call, at a mesh whose address is `origin`, in every language. */
export function snippets(asked: Asked, origin: string): Snippet[] {
  return [
    { key: "curl", label: "curl", code: curl(asked, origin) },
    { key: "openai", label: "Python (openai)", code: openai(asked, origin) },
    { key: "python", label: "Python (promptmesh)", code: python(asked, origin) },
    { key: "typescript", label: "TypeScript", code: typescript(asked, origin) },
    { key: "buf", label: "buf curl", code: buf(asked, origin) },
  ];
}

// Controls, invisible characters, what turns the direction of text, separators of lines, halves of characters, and what
// nobody has assigned: in source code they would hide what it says. They are written as escapes.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\u2028\u2029]/gu;

const hex = (code: number, digits: number): string => code.toString(16).padStart(digits, "0");

/** Escapes of UTF-16 units, as JSON and TypeScript read them. */
const units = (char: string): string =>
  Array.from({ length: char.length }, (_, at) => `\\u${hex(char.charCodeAt(at), 4)}`).join("");

/** Python's: one for each character, whatever its plane. */
function point(char: string): string {
  const code = char.codePointAt(0)!;
  return code > 0xffff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`;
}

// JSON.stringify has escaped quotes, backslashes and the controls below U+0020; the rest is ours.
const text = (value: string): string => JSON.stringify(value).replace(UNSEEN, units);
const pythonText = (value: string): string => JSON.stringify(value).replace(UNSEEN, point);

/** A word of a POSIX shell: between single quotes nothing has a meaning but the single quote itself. */
const shellWord = (value: string): string => `'${value.replaceAll("'", `'\\''`)}'`;

/** JSON for a shell's command line. Every `!` is escaped: an interactive shell that reads line by line may have forgotten
    on the second that it stands between quotes, and put a word of its history there. */
const shellJson = (value: unknown): string =>
  shellWord(
    JSON.stringify(value, null, 2)
      .replace(UNSEEN, (char) => (char === "\n" ? char : units(char))) // new lines of a text are escaped already
      .replaceAll("!", "\\u0021"),
  );

const ROLE: Record<Role, string> = { system: "SYSTEM", user: "USER", assistant: "ASSISTANT" };

/** The request as protobuf's JSON, as REST and buf take it. */
function json({ model, messages, sampling }: Asked): unknown {
  return {
    model,
    messages: messages.map(({ role, content }) => ({ role: `MESSAGE_ROLE_${ROLE[role]}`, content })),
    ...(Object.keys(sampling).length > 0 && { sampling }),
  };
}

function curl(asked: Asked, origin: string): string {
  return `curl --no-buffer --fail-with-body ${shellWord(`${origin}/api/v1/generate`)} \\
  --header "Authorization: Bearer $${KEY}" \\
  --header 'Content-Type: application/json' \\
  --data-raw ${shellJson(json(asked))}
`;
}

function buf(asked: Asked, origin: string): string {
  const plaintext = origin.startsWith("http:") ? " --http2-prior-knowledge" : "";
  return `buf curl --protocol grpc${plaintext} \\
  --header "Authorization: Bearer $${KEY}" \\
  --data ${shellJson(json(asked))} \\
  ${shellWord(`${origin}/promptmesh.inference.v1.InferenceService/Generate`)}
`;
}

function openai({ model, messages, sampling }: Asked, origin: string): string {
  const said = messages.map(({ role, content }) => `        {"role": "${role}", "content": ${pythonText(content)}},\n`);
  const set = [
    sampling.temperature !== undefined && `temperature=${sampling.temperature}`,
    sampling.topP !== undefined && `top_p=${sampling.topP}`,
    sampling.maxOutputTokens !== undefined && `max_completion_tokens=${sampling.maxOutputTokens}`,
    sampling.stop && `stop=[${sampling.stop.map(pythonText).join(", ")}]`,
    sampling.seed !== undefined && `seed=${sampling.seed}`,
  ];
  return `import os

from openai import OpenAI

client = OpenAI(base_url=${pythonText(`${origin}/v1`)}, api_key=os.environ["${KEY}"])

stream = client.chat.completions.create(
    model=${pythonText(model)},
    messages=[
${said.join("")}    ],
${lines(set, "    ")}    stream=True,
    stream_options={"include_usage": True},
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    elif chunk.usage:
        print(f"\\n{chunk.usage.prompt_tokens} + {chunk.usage.completion_tokens} tokens")
`;
}

function python({ model, messages, sampling }: Asked, origin: string): string {
  const said = messages.map(
    ({ role, content }) => `        types.Message(role=types.MESSAGE_ROLE_${ROLE[role]}, content=${pythonText(content)}),\n`,
  );
  const set = [
    sampling.temperature !== undefined && `temperature=${sampling.temperature}`,
    sampling.topP !== undefined && `top_p=${sampling.topP}`,
    sampling.maxOutputTokens !== undefined && `max_output_tokens=${sampling.maxOutputTokens}`,
    sampling.stop && `stop=[${sampling.stop.map(pythonText).join(", ")}]`,
    sampling.seed !== undefined && `seed=${sampling.seed}`,
  ].filter(Boolean);
  const chosen = set.length ? `        sampling=types.Sampling(${set.join(", ")}),\n` : "";
  return `import os

from promptmesh import Promptmesh, types

with Promptmesh(${pythonText(origin)}, api_key=os.environ["${KEY}"]) as client:
    events = client.inference.generate(
        model=${pythonText(model)},
        messages=[
${said.map((line) => `    ${line}`).join("")}        ],
${chosen}    )
    for event in events:
        if event.HasField("delta"):
            print(event.delta.text, end="", flush=True)
        elif event.HasField("usage"):
            print(f"\\n{event.usage.input_tokens} + {event.usage.output_tokens} tokens")
`;
}

function typescript({ model, messages, sampling }: Asked, origin: string): string {
  const said = messages.map(({ role, content }) => `    { role: MessageRole.${ROLE[role]}, content: ${text(content)} },\n`);
  const set = [
    sampling.temperature !== undefined && `temperature: ${sampling.temperature}`,
    sampling.topP !== undefined && `topP: ${sampling.topP}`,
    sampling.maxOutputTokens !== undefined && `maxOutputTokens: ${sampling.maxOutputTokens}`,
    sampling.stop && `stop: [${sampling.stop.map(text).join(", ")}]`,
    sampling.seed !== undefined && `seed: ${sampling.seed}n`,
  ].filter(Boolean);
  const chosen = set.length ? `  sampling: { ${set.join(", ")} },\n` : "";
  return `import { createPromptmesh, MessageRole } from "@promptmesh/client";

const mesh = createPromptmesh({ baseUrl: ${text(origin)}, apiKey: process.env.${KEY}! });

const events = mesh.inference.generate({
  model: ${text(model)},
  messages: [
${said.join("")}  ],
${chosen}});
for await (const { event } of events) {
  if (event.case === "delta") process.stdout.write(event.value.text);
  else if (event.case === "usage") console.log(\`\\n\${event.value.inputTokens} + \${event.value.outputTokens} tokens\`);
}
`;
}

const lines = (all: (string | false | undefined)[], indent: string): string =>
  all
    .filter(Boolean)
    .map((one) => `${indent}${one},\n`)
    .join("");
