// Runs before the first paint, so that neither the colours nor the language's glyphs change after it.
{
  const root = document.documentElement;
  const theme = localStorage.getItem("chorus.theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  const asked = new URLSearchParams(location.search).get("lang") ?? localStorage.getItem("chorus.language") ??
      navigator.languages.find((tag) => /^(zh|en)\b/i.test(tag)) ?? "en";
  root.lang = /^zh/i.test(asked) ? "zh-Hant" : "en";
}
