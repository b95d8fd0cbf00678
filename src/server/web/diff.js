// What has changed between two texts, by their words.

const kMostCells = 1 << 20;  // of the table; longer texts are said to differ as wholes

/** Words with the space behind them; of scripts without spaces, characters. */
const words = (text) => text.match(/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]\s*|[^\s\p{Script=Han}]+\s*|\s+/gu) ?? [];

/** `after` with what was taken away from `before` where it stood.
 *  @returns {{kind: "same" | "gone" | "new", text: string}[]} */
export function wordDiff(before, after) {
  const a = words(before), b = words(after), width = b.length + 1;
  if ((a.length + 1) * width > kMostCells) return [{kind: "gone", text: before}, {kind: "new", text: after}];
  // The longest common subsequence of what stands behind each pair of places.
  const longest = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; --i) {
    for (let j = b.length - 1; j >= 0; --j) {
      longest[i * width + j] = a[i] === b[j] ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  const runs = [];
  const add = (kind, text) => {
    if (runs.at(-1)?.kind === kind) runs.at(-1).text += text;
    else runs.push({kind, text});
  };
  for (let i = 0, j = 0; i < a.length || j < b.length;) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      add("same", b[j++]);
      ++i;
    } else if (j === b.length || (i < a.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) {
      add("gone", a[i++]);
    } else {
      add("new", b[j++]);
    }
  }
  return runs;
}
