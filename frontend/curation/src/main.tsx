import "./styles/base.css";
import "./styles/frame.css";
import "./styles/desk.css";
import "./styles/editor.css";
import "./styles/views.css";

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { applyTheme, readTheme } from "./theme.ts";
import { App } from "./views/app.tsx";

applyTheme(readTheme());
const page = document.getElementById("page");
if (page)
  createRoot(page).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
