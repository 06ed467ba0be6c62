import "./styles/base.css";
import "./styles/frame.css";
import "./styles/posts.css";
import "./styles/views.css";

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { applyTheme } from "./settings.ts";
import { Space, SpaceContext } from "./space.ts";
import { App } from "./views/app.tsx";

const space = new Space();
applyTheme(space.settings.get().theme);
void space.loadModels();
window.addEventListener("storage", () => {
  space.threads.reload();
});
window.addEventListener("online", () => {
  space.tryNow();
});
const page = document.getElementById("page");
if (page)
  createRoot(page).render(
    <StrictMode>
      <SpaceContext value={space}>
        <App />
      </SpaceContext>
    </StrictMode>,
  );
