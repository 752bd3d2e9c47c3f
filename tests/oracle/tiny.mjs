// Makes tests/data/tokenizers/golden.json: what @huggingface/tokenizers makes of tiny tokenizers of our own, one per
// feature. Run by hand after a change here:  node tiny.mjs
// Left out, because it differs there from the Rust library it follows: Metaspace that splits, Metaspace as a decoder of
// pieces with spaces inside, Punctuation in a row, most ways to Split. src/text's unit tests have those.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Tokenizer } from "@huggingface/tokenizers";
import { randomSource } from "./corpus.mjs";

const folder = fileURLToPath(new URL(".", import.meta.url)); // node 18 has no import.meta.dirname

const mark = "▁";
const texts = [
  "", "hello world", " hello  world ", "Hello, World! 12 345", "the end.\n\nthe  end", "a-b-c...d", "in 2024, x1y22z333", "\tthe\n", "don't, can't; it's",
  "héllo wörld", "cafe\u0301 ﬁne ½ Å", "的 end 的的", "end😀the", "...", "   ", "the the the", "a  b   c", "<x>the<y> end <x>", "the<w>end <w> end",
];

// Pairs learned from text that was not split, so that merges reach across spaces and show where a pipeline splits.
function train(lines, count, characters) {
  const words = lines.map(characters);
  const vocab = new Map();
  for (const word of words) for (const piece of word) if (!vocab.has(piece)) vocab.set(piece, vocab.size);
  const merges = [];
  while (merges.length < count) {
    const counts = new Map();
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; ++i) {
        const key = JSON.stringify([word[i], word[i + 1]]);
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    }
    const best = [...counts].reduce((a, b) => (b[1] > a[1] ? b : a))[0];
    const [left, right] = JSON.parse(best);
    merges.push([left, right]);
    if (!vocab.has(left + right)) vocab.set(left + right, vocab.size);
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; ++i) if (word[i] === left && word[i + 1] === right) word.splice(i, 2, left + right);
    }
  }
  return { vocab, merges };
}

const corpus = [
  "the end. the end, hello world! hello,  world the 12 the 345 2024", "a-b-c...d a...d don't can't it's it's", "the\n\nend\tthe end. 22z333 x1y the  end",
  "Hello, World! <the hello world> xxy", "fine cafe hello wrld",
];

function characterModel(options) {
  const { vocab, merges } = train(corpus.map((text) => text.replaceAll(" ", mark)).concat(corpus), 90, (text) => [...text]);
  const pieces = Object.fromEntries([...vocab].map(([piece, id]) => [piece, id + 1]));
  pieces["<unk>"] = 0;
  if (options.byte_fallback) {
    for (let byte = 0; byte < 256; ++byte) pieces[`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`] = Object.keys(pieces).length;
  }
  return { type: "BPE", unk_token: "<unk>", fuse_unk: false, ignore_merges: false, byte_fallback: false, ...options, vocab: pieces, merges };
}

// ["piece", score] with scores by frequency of every substring of up to 5 characters.
function unigramModel(options) {
  const counts = new Map();
  for (const text of corpus.map((line) => line.replaceAll(" ", mark))) {
    const characters = [...text];
    for (let i = 0; i < characters.length; ++i) {
      for (let size = 1; size <= 5 && i + size <= characters.length; ++size) {
        const piece = characters.slice(i, i + size).join("");
        counts.set(piece, (counts.get(piece) ?? 0) + 1);
      }
    }
  }
  const random = randomSource(7);
  const kept = [...counts].filter(([piece, count]) => [...piece].length === 1 || count > 2);
  const vocab = kept.map(([piece, count]) => [piece, Math.log(count / 1000) - random.below(1000) / 1e4]);
  return { type: "Unigram", unk_id: 0, byte_fallback: false, ...options, vocab: [["<unk>", 0], ...vocab] };
}

const models = {
  bpe: characterModel({}),
  fused: characterModel({ fuse_unk: true }),
  fallback: characterModel({ byte_fallback: true, fuse_unk: true }),
  whole: characterModel({ ignore_merges: true }),
  unigram: unigramModel({}),
};

const split = (pattern, behavior, invert = false) => ({ type: "Split", pattern, behavior, invert });
const token = (id, content, flags = {}) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...flags });
const metaspace = (prepend_scheme, splits) => ({ type: "Metaspace", replacement: mark, prepend_scheme, split: splits });
const sequence = (key, ...parts) => ({ type: "Sequence", [key]: parts });
const spDecoder = sequence(
  "decoders", { type: "Replace", pattern: { String: mark }, content: " " }, { type: "ByteFallback" }, { type: "Fuse" },
  { type: "Strip", content: " ", start: 1, stop: 0 });

const pipelines = {
  "no pipeline": { model: "bpe" },
  "unknown characters fuse": { model: "fused" },
  "a whole word that is a piece": { model: "whole", pre_tokenizer: { type: "WhitespaceSplit" } },
  "NFC": { model: "bpe", normalizer: { type: "NFC" } },
  "NFD and accents stripped": { model: "bpe", normalizer: sequence("normalizers", { type: "NFD" }, { type: "StripAccents" }) },
  "NFKC and lower case": { model: "bpe", normalizer: sequence("normalizers", { type: "NFKC" }, { type: "Lowercase" }) },
  "strip": { model: "bpe", normalizer: { type: "Strip", strip_left: true, strip_right: false } },
  "replace by pattern": { model: "bpe", normalizer: { type: "Replace", pattern: { Regex: " {2,}" }, content: mark } },
  "split on whitespace": { model: "bpe", pre_tokenizer: { type: "Whitespace" } },
  "digits alone": { model: "bpe", pre_tokenizer: { type: "Digits", individual_digits: true } },
  "digits together": { model: "bpe", pre_tokenizer: { type: "Digits", individual_digits: false } },
  "metaspace always": { model: "bpe", pre_tokenizer: metaspace("always", false) },
  "metaspace first": { model: "bpe", pre_tokenizer: metaspace("first", false), added_tokens: [token(0, "<unk>"), token(500, "<x>")] },
  "metaspace never, unsplit": { model: "bpe", pre_tokenizer: metaspace("never", false) },
  "legacy sentencepiece": {
    model: "fallback", decoder: spDecoder,
    normalizer: sequence("normalizers", { type: "Prepend", prepend: mark }, { type: "Replace", pattern: { String: " " }, content: mark }),
  },
  "unigram": { model: "unigram", pre_tokenizer: metaspace("always", false) },
  "added tokens": { model: "bpe", added_tokens: [token(0, "<unk>"), token(500, "<x>", { lstrip: true }), token(501, "<y>", { rstrip: true }), token(models.bpe.vocab.end, "end", { single_word: true, special: false })] },
};
for (const behavior of ["Removed", "Isolated"]) {
  pipelines[`split ${behavior}`] = { model: "bpe", pre_tokenizer: split({ Regex: "[.\\s]" }, behavior) };
}
pipelines["split inverted"] = { model: "bpe", pre_tokenizer: split({ Regex: "[A-Za-z0-9]+" }, "Removed", true) };

const golden = { models, pipelines: [] };
for (const [name, { model, ...parts }] of Object.entries(pipelines)) {
  const config = { added_tokens: [token(0, "<unk>")], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: { type: "Fuse" }, ...parts };
  const cases = [];
  for (const text of texts) {
    // The reference fails on some combinations; those are left out.
    try {
      const tokenizer = new Tokenizer({ version: "1.0", ...config, model: models[model] }, {});
      const { ids } = tokenizer.encode(text, { add_special_tokens: false });
      const decoded = ids.length === 0 ? "" : tokenizer.decode(ids, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
      cases.push({ text, ids, decoded });
    } catch (error) {
      console.log(`${name}: ${JSON.stringify(text)}: ${error.message}`);
    }
  }
  golden.pipelines.push({ name, model, config, cases });
}
const lines = golden.pipelines.map((item) => JSON.stringify(item)).join(",\n");
const target = path.join(folder, "../data/tokenizers/golden.json");
fs.writeFileSync(target, `{"models": ${JSON.stringify(models)},\n"pipelines": [\n${lines}\n]}\n`);
