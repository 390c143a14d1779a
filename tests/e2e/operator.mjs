// Checks objects of the Prometheus operator against its own types, which npm has: a JSON list on standard input.
// Prints what is wrong, as a JSON list.
import { readFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";

const models = fileURLToPath(
  new URL("../../target/node/node_modules/@kubernetes-models/prometheus-operator/", import.meta.url),
);

// The validators let unknown fields pass, which Kubernetes drops without a word: a misspelled interval would be none.
// The declarations have the names.
function unknownFields(api, type, value) {
  const declaration = readFileSync(`${models}${api}/${type}.d.ts`, "utf8");
  const names = new Set([...declaration.matchAll(/^ {4}"(\w+)"\??:/gm)].map((match) => match[1]));
  return Object.keys(value)
    .filter((name) => !names.has(name))
    .map((name) => `${type} has no ${name}`);
}

const parts = {
  ServiceMonitor: (spec) => [["ServiceMonitorSpec", [spec]], ["Endpoint", spec.endpoints]],
  PrometheusRule: (spec) => [
    ["PrometheusRuleSpec", [spec]],
    ["RuleGroup", spec.groups],
    ["Rule", spec.groups.flatMap((group) => group.rules)],
  ],
  ScrapeConfig: (spec) => [["ScrapeConfigSpec", [spec]], ["StaticConfig", spec.staticConfigs]],
};

async function problemsOf(object) {
  const module = await import(pathToFileURL(`${models}${object.apiVersion}/${object.kind}.js`));
  const problems = [];
  try {
    new module[object.kind](object).validate();
  } catch (error) {
    problems.push(error.message);
  }
  for (const [type, values] of parts[object.kind](object.spec)) {
    problems.push(...values.flatMap((value) => unknownFields(object.apiVersion, type, value)));
  }
  return problems.map((problem) => `${object.kind} ${object.metadata.name}: ${problem}`);
}

const problems = [];
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  problems.push(...(await problemsOf(object)));
}
console.log(JSON.stringify(problems));
