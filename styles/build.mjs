// Builds what the pages load into src/highball/web/static: one stylesheet, one sprite of icons, fonts, htmx, licences.
// Run by `make styles`; the result is committed, so that nobody needs Node.js to install or test Highball.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";

const STATIC = "../src/highball/web/static";
const TEMPLATES = "../src/highball/web/templates";
const BASECOAT = "node_modules/basecoat-css/dist";

// Only the components that the pages use, and their sections of the style pack: the whole pack would double the file.
const COMPONENTS = [
  "alert", "badge", "button", "checkbox", "dialog", "dropdown-menu", "field", "input", "label", "native-select",
  "radio", "switch", "table", "textarea",
];

function packSections() {
  const pack = readFileSync(`${BASECOAT}/styles/nova.css`, "utf8");
  const body = pack.slice(pack.indexOf("@layer components {") + "@layer components {".length, pack.lastIndexOf("}"));
  const wanted = new Set(COMPONENTS.map((name) => name.replace("-", " ")));
  const sections = body.split(/^\s*\/\* ([A-Z][A-Za-z ]+) \*\/$/m);
  let kept = "";
  for (let at = 1; at < sections.length; at += 2) {
    if (wanted.has(sections[at].toLowerCase())) kept += sections[at + 1];
  }
  return `@layer components {\n${kept}\n}\n`;
}

function stylesheet() {
  const imports = ["base/base.css", ...COMPONENTS.map((name) => `components/${name}.css`)];
  const text = imports.map((path) => `@import "./${BASECOAT}/${path}";\n`).join("") + packSections();
  writeFileSync("basecoat-used.css", text);
  execFileSync("node_modules/.bin/tailwindcss", ["--input", "app.css", "--output", `${STATIC}/app.css`, "--minify"]);
}

function templates(folder = TEMPLATES) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? templates(`${folder}/${entry.name}`) : [readFileSync(`${folder}/${entry.name}`, "utf8")]
  );
}

// Every icon that a template or the words' tables name in quotes, and that Lucide has.
function sprite() {
  const have = new Set(readdirSync("node_modules/lucide-static/icons").map((name) => name.replace(/\.svg$/, "")));
  const python = ["ui/status_looks.py", "ui/titles.py", "ui/templating.py"].map((name) => readFileSync(`../src/highball/web/${name}`, "utf8"));
  const sources = [...templates(), ...python].join("\n");
  const named = new Set([...sources.matchAll(/["']([a-z0-9]+(?:-[a-z0-9]+)*)["']/g)].map((found) => found[1]));
  const symbols = [...named].filter((name) => have.has(name)).sort().map((name) => {
    const drawn = readFileSync(`node_modules/lucide-static/icons/${name}.svg`, "utf8");
    const inner = drawn.slice(drawn.indexOf(">", drawn.indexOf("<svg")) + 1, drawn.lastIndexOf("</svg>"));
    return `<symbol id="${name}" viewBox="0 0 24 24">${inner.replace(/\s+/g, " ").trim()}</symbol>`;
  });
  const about = "<!-- Lucide, ISC licence: see licences.txt -->";
  writeFileSync(`${STATIC}/icons.svg`, `${about}\n<svg xmlns="http://www.w3.org/2000/svg">\n${symbols.join("\n")}\n</svg>\n`);
}

function copies() {
  mkdirSync(`${STATIC}/fonts`, { recursive: true });
  for (const font of ["geist", "geist-mono"]) {
    const from = `node_modules/@fontsource-variable/${font}/files/${font}-latin-wght-normal.woff2`;
    copyFileSync(from, `${STATIC}/fonts/${font}-latin.woff2`);
  }
  copyFileSync("node_modules/htmx.org/dist/htmx.min.js", `${STATIC}/htmx.js`);
  const licences = {
    "htmx": "htmx.org/LICENSE",
    "Basecoat": "basecoat-css/LICENSE.md",
    "Tailwind CSS": "tailwindcss/LICENSE",
    "Lucide": "lucide-static/LICENSE",
    "Geist": "@fontsource-variable/geist/LICENSE",
    "Geist Mono": "@fontsource-variable/geist-mono/LICENSE",
  };
  const texts = Object.entries(licences).map(([name, path]) => `${name}\n\n${readFileSync(`node_modules/${path}`, "utf8")}`);
  writeFileSync(`${STATIC}/licences.txt`, texts.join(`\n${"-".repeat(80)}\n\n`));
}

stylesheet();
sprite();
copies();
