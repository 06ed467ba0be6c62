import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

/** Where `gtx-data curate` serves the page from. */
const STATIC_FOLDER = "../../data_pipeline/curation/static";

/** Where `npm run dev` finds a running `gtx-data curate`. */
const SERVER = "http://127.0.0.1:5001";

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: STATIC_FOLDER,
    emptyOutDir: true,
    // The page's content security policy knows files of its own only: nothing inline, no `data:`.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    target: "es2022",
  },
  server: {
    proxy: { "/api": { target: SERVER, changeOrigin: true, headers: { origin: SERVER } } },
  },
});
