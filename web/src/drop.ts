/** What a person dropped or chose, as sources: a file is one source, a folder with all that lies in it is one. */

import type { Item } from "./api";

export type Dropped = Item[];

const JUNK = /(^|\/)(\.[^/]*|__MACOSX|Thumbs\.db|desktop\.ini)(\/|$)/;

export async function fromDrop(data: DataTransfer): Promise<Dropped[]> {
  // Entries have to be taken at once: the list is empty after the first await.
  const entries = [...data.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry());
  const loose = [...data.files];
  const found: Dropped[] = [];
  for (const [k, entry] of entries.entries()) {
    if (entry) found.push(await walk(entry));
    else if (loose[k]) found.push([{ file: loose[k], path: loose[k].name }]);
  }
  return found;
}

async function walk(entry: FileSystemEntry): Promise<Item[]> {
  const path = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    const file = await new Promise<File>((done, fail) => (entry as FileSystemFileEntry).file(done, fail));
    return [{ file, path }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const items: Item[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((done, fail) => reader.readEntries(done, fail));
    if (!some.length) break; // it answers with at most 100 at a time
    for (const one of some) items.push(...(await walk(one)));
  }
  return items.filter((item) => !JUNK.test(item.path));
}

/** Files of a file field: all of a folder, or those chosen together. */
export const fromField = (files: FileList): Item[] =>
  [...files]
    .map((file) => ({ file, path: file.webkitRelativePath || file.name }))
    .filter((item) => !JUNK.test(item.path));
