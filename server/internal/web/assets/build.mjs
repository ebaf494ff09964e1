// Copies the few files that the console takes from its packages into the directory named by the argument, and makes
// one SVG sprite of the icons named in icons.txt; axe-core, which only tests use, stays here. Run by build.sh.
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";

const to = process.argv[2];
const here = (path) => new URL(path, import.meta.url);
for (const [from, name] of [
  ["@tabler/core/dist/css/tabler.min.css", "tabler.min.css"],
  ["htmx.org/dist/htmx.min.js", "htmx.min.js"],
  ["echarts/dist/echarts.simple.min.js", "echarts.simple.min.js"],
]) copyFileSync(here(`node_modules/${from}`), `${to}/${name}`);

// For the tests only: beside the packages' list and not among what the server embeds.
copyFileSync(here("node_modules/axe-core/axe.min.js"), here("axe.min.js"));

// The style sheet's last line names a source map that is not served.
const sheet = `${to}/tabler.min.css`;
writeFileSync(sheet, readFileSync(sheet, "utf8").replace(/\/\*# sourceMappingURL=.*?\*\//g, ""));

const names = readFileSync(here("icons.txt"), "utf8").split("\n").filter(Boolean);
const symbols = names.map((name) => {
  const svg = readFileSync(here(`node_modules/@tabler/icons/icons/outline/${name}.svg`), "utf8");
  const inner = svg.replace(/<!--[\s\S]*?-->/g, "").replace(/[\s\S]*?<svg[\s\S]*?>/, "").replace(/<\/svg>\s*$/, "").replace(/<path stroke="none" d="M0 0h24v24H0z" fill="none"\s*\/>/, "");
  return `<symbol id="${name}" viewBox="0 0 24 24">${inner.replace(/\s+/g, " ").trim()}</symbol>`;
});
writeFileSync(`${to}/icons.svg`, `<svg xmlns="http://www.w3.org/2000/svg">${symbols.join("\n")}</svg>\n`);
