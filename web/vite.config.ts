import { defineConfig } from "vite";
import { licences } from "./licences.js";

const here = (path: string) => decodeURIComponent(new URL(path, import.meta.url).pathname);

export default defineConfig({
  // NiiVue reads Zarr stores through WebAssembly codecs of 1.4 MB; the page reads none.
  resolve: {
    alias: ["blosc", "zstd", "lz4"].map((codec) => ({
      find: `numcodecs/${codec}`,
      replacement: here("./src/view/no-codec.ts"),
    })),
  },
  plugins: [licences()],
  build: {
    target: "es2022",
    outDir: here("../src/haarmony/app/page"),
    emptyOutDir: true,
    sourcemap: false,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1000,
  },
  server: { host: "127.0.0.1" },
});
