import type { SaveState } from "../keep/autosave.ts";
import { useSpace } from "../space-context.ts";
import { useStore } from "../store.ts";

const WORDS: Record<SaveState, string> = {
  saved: "Saved",
  unsaved: "Not saved yet",
  saving: "Saving…",
  kept: "Kept in this browser",
};

/** Whether what was typed is with the server. */
export function SaveMark() {
  const space = useSpace();
  const { save, savedAtS, row } = useStore(space.desk.state);
  if (!row) return null;
  const at =
    save === "saved" && savedAtS !== null
      ? ` ${new Date(savedAtS * 1000).toLocaleTimeString("en", { hour12: false })}`
      : "";
  return (
    <span className={`save ${save}`} data-save={save}>
      {WORDS[save]}
      {at}
    </span>
  );
}
