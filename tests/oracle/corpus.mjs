// Texts to tokenize, the same on every run. Only characters of Unicode 14 (what PCRE2 10.42 knows), and none that
// JavaScript's \s sees differently (U+0085, U+FEFF).

const languages = [
  "The quick brown fox jumps over the lazy dog. It's 3:45 p.m., and they'll've LEFT; I'D say WE'RE late!",
  "Der Fluß überschwemmte gestern die Straße, während Jürgen «Äpfel» für 12,50 € kaufte.",
  "L'été dernier, j'ai vu où naît l'arc-en-ciel : c'était à Besançon, n'est-ce pas ?",
  "El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia y frío; ¿añoraba a su querido cachorro?",
  "Съешь ещё этих мягких французских булок, да выпей же чаю. Подъём в 07:00!",
  "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Τι ώρα είναι; Είναι 10 και μισή.",
  "敏捷的棕色狐狸跳過懶狗。2024年3月15日,他说:“这不是3.14,而是π!”",
  "いろはにほへと ちりぬるを。カタカナとひらがなと漢字、全部で１２３個ですー〜",
  "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다. 2024년 5월!",
  "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश करने वाले १२३",
  "আমি বাংলায় গান গাই। তোমার নাম কী? ৪৫৬",
  "ราชาผู้ครองเมืองคนหนึ่งได้เดินทางไป ๗๘๙ กิโลเมตร",
  "صِف خَلقَ خَودِ كَمِثلِ الشَمسِ إِذ بَزَغَت — يَحظى الضَجيعُ بِها نَجلاءَ مِعطارِ ٠١٢",
  "דג סקרן שט לו בים זך אך לפתע פגש חבורה נחמדה שצצה כך. שָׁלוֹם",
  "Zażółć gęślą jaźń; Příliš žluťoučký kůň úpěl ďábelské ódy; Árvíztűrő tükörfúrógép",
  "Chữ Quốc ngữ: Tôi yêu tiếng nước tôi từ khi mới ra đời, người ơi!",
  "İstanbul'da ığdır, şişeye çığ gibi yağdı: ĞÜŞİÖÇ ığüşöç",
  "እንኳን ደህና መጣችሁ። ၁၂၃ မြန်မာဘာသာ ខ្ញុំស្រឡាញ់ភាសាខ្មែរ ქართული ენა հայերեն",
  "தமிழ் மொழி தெலுగు భాష ಕನ್ನಡ മലയാളം සිංහල",
  "Cafe\u0301 vs Café; A\u030a Å Å; q\u0307\u0323 q\u0323\u0307; ﬁ ﬂ ½ ² ℌ ㎏ ﾊﾟ ｶﾞ 각 각",
];

const code = [
  'def f(x: int) -> str:\n    """Doc."""\n    if x >= 0x1F and x != 1_000_000:\n        return f"{x:>10.3f}\\n"\n\n\n    return None\n',
  "#include <vector>\r\nint main(int argc, char** argv) {\r\n\tstd::vector<int> v{1,2,3};\r\n\tfor (auto&& x : v) x <<= 2; // шаг\r\n\treturn 0;\r\n}\r\n",
  "const a = [...xs].map(({id, name = 'n/a'}) => `${id}: ${name}`) ?? {}; /* é */ if (a?.b !== null && !c) { d ||= e ** 2; }",
  '{"key": [1, 2.5e-10, null, true], "nested": {"a\\u00e9": "\\"quoted\\""}}\n',
  "<html>\n  <body class='x y'>\n    <h1>Title</h1><table><tr><td>1</td></tr></table>\n  </body>\n</html>",
  "SELECT COUNT(*) FROM t WHERE name LIKE '%O''Brien%' AND id IN (1,22,333,4444,55555);",
  "| a | b |\n|---|---:|\n| 1 | 22 |\n\n- item\n  - nested\n\n```sh\n$ ls -la | grep '^d' && echo \"$HOME\"\n```\n",
  "\\begin{equation} \\frac{\\partial^2 u}{\\partial t^2} = c^2 \\nabla^2 u \\quad \\forall x \\in \\mathbb{R}^n \\end{equation}",
  "https://example.org/a/b/c?x=1&y=%20z#frag user.name+tag@mail.example.co.uk /usr/local/bin C:\\Temp\\x.txt 192.168.0.1",
  "x=1;y=2;z=x+++y---1<<3>>2>>>1!==~0^5|6&7&&8||9",
];

const emoji = [
  "😀😃😄😁 👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇩🇪🇯🇵🇺🇸 ❤️‍🔥 1️⃣ ©️ ™ 🤷🏿‍♀️",
  "ok👌ok 🚀🚀🚀!!! (╯°□°）╯︵ ┻━┻ ¯\\_(ツ)_/¯ ʕ•ᴥ•ʔ",
  "𝓗𝓮𝓵𝓵𝓸 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟘𝟙𝟚 🄰🅱️ ①②③ Ⅻ ↯ ∑∫√∞ ≤≥≠ ▁▂▃ ░▒▓█ ♠♥♦♣ ♪♫",
];

const tricky = [
  "", " ", "  ", "\n", "\r\n", "\t", "\u3000", "\u00a0", " \n \n ", "a", " a", "a ", "  a  b  ", "\n\n\n\na\n\n", "▁", "▁▁a ▁b",
  "don't DON'T 'tis ''s 's'S'LL'll'Ve'rE'd I'mmm", "it’s we’ll", "1234567890 1,234,567.89 12 345 ٣٤٥ ⅧⅨ 1a2b3c",
  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "!!!???...---___===///***###", "....\n....\r\n..../....\n//\n",
  "CamelCaseHTTPServerName snake_case_NAME kebab-case XMLHttpRequest iPhone McDonald ǅungla ʰʰA ªº",
  "\u180e\u180ea \u180e b\u200b\u200c\u200d c\u2028d\u2029e\u001c\u001d\u001ef", "\u0000\u0001\u0002\u007f\u0080\u009f", "<0x0A><0xE2>", "<unk> <pad> </s>",
  "̀̀combining first é́́́́ x̧̛̖́", "각\u11a8 \u1100\u1161\u11a8 \u1112\u1161\u11ab\u1100\u1173\u11af", "nul\u0000l", "ﷺ ﷽ ⵣ ꙮ 𒐫",
];

// xorshift32
export function randomSource(seed) {
  let state = seed >>> 0 || 1;
  const next = (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  return { below: next, pick: (list) => list[next(list.length)] };
}

// Blocks that were complete, as far as they are used, before Unicode 14.
const blocks = [
  [0x20, 0x7e], [0xa1, 0x17f], [0x180, 0x24f], [0x250, 0x2af], [0x300, 0x36f], [0x391, 0x3a1], [0x3a3, 0x3ce], [0x400, 0x45f],
  [0x531, 0x556], [0x5d0, 0x5ea], [0x621, 0x64a], [0x660, 0x669], [0x905, 0x939], [0x93c, 0x94d], [0x995, 0x9a8], [0xe01, 0xe3a],
  [0x10d0, 0x10f0], [0x1100, 0x1112], [0x1161, 0x1175], [0x11a8, 0x11c2], [0x1e00, 0x1eff], [0x2000, 0x200a], [0x2010, 0x2027],
  [0x2030, 0x205e], [0x2070, 0x2071], [0x20a0, 0x20bf], [0x2150, 0x2188], [0x2190, 0x23ff], [0x2460, 0x24ff], [0x2500, 0x27bf],
  [0x3000, 0x303f], [0x3041, 0x3096], [0x3099, 0x30ff], [0x4e00, 0x9fa5], [0xac00, 0xd7a3], [0xff01, 0xff9f], [0x1d400, 0x1d454],
  [0x1f300, 0x1f64f], [0x1f680, 0x1f6c5], [0x20000, 0x2a6d6],
];

function randomText(random, length) {
  let text = "";
  let block = random.pick(blocks);
  for (let i = 0; i < length; ++i) {
    if (random.below(6) === 0) block = random.pick(blocks);
    const code = block[0] + random.below(block[1] - block[0] + 1);
    text += random.below(8) === 0 ? " " : String.fromCodePoint(code);
  }
  return text;
}

function mixture(random, alphabet, length) {
  let text = "";
  for (let i = 0; i < length; ++i) text += random.pick(alphabet);
  return text;
}

const spaces = [" ", " ", "  ", "\n", "\t", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u2028", "\u200b", "\v", "\f", "x", "1", ".", "é", "的", "    "];
const ascii = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));
const words = languages.concat(code, emoji).flatMap((text) => text.split(/(?<=\s)/));

function randomBytes(random, length) {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; ++i) bytes[i] = random.below(3) === 0 ? 32 + random.below(95) : random.below(256);
  return bytes;
}

// Whether JavaScript and PCRE2 10.42 see the same characters in it: random bytes may spell any.
function isComparable(text) {
  for (const character of text) {
    const code = character.codePointAt(0);
    if (code === 0x85 || code === 0xfeff) return false;
    const known = code < 0x180 || code === 0xfffd || blocks.some(([first, last]) => code >= first && code <= last);
    if (!known) return false;
  }
  return true;
}

// Buffers: bytes that need not be UTF-8. `special` are contents of added tokens to strew in.
export function texts(special) {
  const random = randomSource(20240607);
  const all = [...languages, ...code, ...emoji, ...tricky];
  for (let i = 0; i < 300; ++i) all.push(randomText(random, 1 + random.below(120)));
  for (let i = 0; i < 200; ++i) all.push(mixture(random, spaces, 1 + random.below(40)));
  for (let i = 0; i < 200; ++i) all.push(mixture(random, ascii, 1 + random.below(100)));
  for (let i = 0; i < 200; ++i) all.push(mixture(random, words, 1 + random.below(60)));
  for (let i = 0; i < 200 && special.length > 0; ++i) {
    all.push(mixture(random, [random.pick(words), random.pick(words), " ", "\n", random.pick(special), random.pick(special)], 12));
  }
  const buffers = all.map((text) => Buffer.from(text, "utf8"));
  for (let wanted = buffers.length + 300; buffers.length < wanted; ) {
    const bytes = randomBytes(random, 1 + random.below(60));
    if (isComparable(bytes.toString("utf8"))) buffers.push(bytes);
  }
  return buffers;
}
