/** The page carries other people's work: their licences go with it, as they ask for. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A package's name, version, terms and whatever licence text it ships. */
function notice(folder) {
  const { name, version, license, author, homepage } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const by = typeof author === "string" ? author : author?.name;
  const text = readdirSync(folder).filter((file) => /^licen[cs]e/i.test(file)).sort();
  const head = [`${name} ${version}`, `Licence: ${license}`, by && `By: ${by}`, homepage].filter(Boolean).join("\n");
  return [head, ...text.map((file) => readFileSync(join(folder, file), "utf8").trim())].join("\n\n");
}

/** @returns {import("vite").Plugin} Writes assets/licences.txt of all packages that are in the build. */
export function licences() {
  return {
    name: "licences",
    generateBundle() {
      const folders = new Set();
      for (const id of this.getModuleIds()) {
        const found = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id.replace(/\\/g, "/").replace(/^\0/, ""));
        if (found && existsSync(join(found[1], "package.json"))) folders.add(found[1]);
      }
      const source = `${[...folders].sort().map(notice).join("\n\n---\n\n")}\n`;
      this.emitFile({ type: "asset", fileName: "assets/licences.txt", source });
    },
  };
}
