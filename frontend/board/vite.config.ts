import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

/** Where the service serves the page from. */
const STATIC_FOLDER = "../../service/static";

/** Where `npm run dev` finds a running service. */
const SERVICE = process.env.GREENTEXT_SERVICE ?? "http://127.0.0.1:3000";

const PATHS = ["/generate", "/generate_stream", "/models", "/ratings", "/board", "/generations", "/session"];

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
  server: { proxy: Object.fromEntries([...PATHS, "/docs", "/openapi.json"].map((path) => [path, SERVICE])) },
});
