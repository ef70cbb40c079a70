// Objects of Kubernetes, as JSON from standard input: what the schemas of their kinds say is wrong, as JSON lists to
// standard output, one for each object. Fields that a kind does not have are found by the kinds' types.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const PACKAGES = {
  "keda.sh": "keda",
  "external-secrets.io": "external-secrets",
  "cert-manager.io": "cert-manager",
  "postgresql.cnpg.io": "cloudnative-pg",
  "monitoring.coreos.com": "prometheus-operator",
  "gateway.networking.k8s.io": "gateway-api",
  "networking.istio.io": "istio",
  "security.istio.io": "istio",
  "telemetry.istio.io": "istio",
};

const moduleOf = ({ apiVersion, kind }) =>
  `@kubernetes-models/${PACKAGES[apiVersion.split("/")[0]]}/${apiVersion}/${kind}`;

async function faultsOf(object) {
  const { [object.kind]: Kind } = await import(moduleOf(object));
  try {
    new Kind(object).validate();
    return [];
  } catch (error) {
    return [String(error.message)];
  }
}

/** Index of an object → what the compiler says of it: a literal may name no field that its type does not have. */
function typeFaults(objects) {
  const file = fileURLToPath(new URL("objects.ts", import.meta.url));
  const lines = objects.map(
    (object, number) => `export const o${number}: import("${moduleOf(object)}").I${object.kind} = ${JSON.stringify(object)};`,
  );
  const options = {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    noEmit: true,
    skipLibCheck: true,
    strict: true,
    types: [],
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  const text = lines.join("\n");
  host.fileExists = (name) => name === file || fileExists(name);
  host.getSourceFile = (name, ...more) =>
    name === file ? ts.createSourceFile(name, text, ts.ScriptTarget.ES2022) : getSourceFile(name, ...more);
  const program = ts.createProgram([file], options, host);
  const found = objects.map(() => []);
  for (const one of ts.getPreEmitDiagnostics(program)) {
    const { line } = one.file.getLineAndCharacterOfPosition(one.start);
    found[line].push(ts.flattenDiagnosticMessageText(one.messageText, " ").slice(0, 400));
  }
  return found;
}

const objects = JSON.parse(readFileSync(0, "utf8"));
const types = typeFaults(objects);
const schemas = await Promise.all(objects.map(faultsOf));
process.stdout.write(JSON.stringify(objects.map((_, number) => [...schemas[number], ...types[number]])));
