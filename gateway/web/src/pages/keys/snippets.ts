/* Programs that use a key, for who copies them. The secret stands only among the variables of the shell: a program that
   is kept, sent or published does not have it. OpenAI's own clients read both variables. */

export type Language = "python" | "typescript" | "curl";

export const variables = (origin: string, secret: string): string =>
  `export OPENAI_BASE_URL=${origin}/v1\nexport OPENAI_API_KEY=${secret}`;

export function snippet(language: Language, model: string): string {
  // Quotes as all three languages have them, and none that would end the shell's.
  const name = JSON.stringify(model).replace(/'/g, "\\u0027");
  if (language === "python") {
    return `from openai import OpenAI

client = OpenAI()  # address and key from the variables above
answer = client.chat.completions.create(
    model=${name},
    messages=[{"role": "user", "content": "Say hello."}],
)
print(answer.choices[0].message.content)`;
  }
  if (language === "typescript") {
    return `import OpenAI from "openai";

const client = new OpenAI(); // address and key from the variables above
const answer = await client.chat.completions.create({
  model: ${name},
  messages: [{ role: "user", content: "Say hello." }],
});
console.log(answer.choices[0].message.content);`;
  }
  return `curl "$OPENAI_BASE_URL/chat/completions" \\
  -H "authorization: Bearer $OPENAI_API_KEY" \\
  -H "content-type: application/json" \\
  -d '{"model": ${name}, "messages": [{"role": "user", "content": "Say hello."}]}'`;
}
