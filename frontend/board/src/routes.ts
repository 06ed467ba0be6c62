/** Which view is shown: kept in the address behind `#`, so that a reload, a bookmark and Back show the same. */

import type { BoardOrder } from "./contract.ts";
import { Store } from "./store.ts";

export type View =
  | { name: "write" }
  | { name: "threads" }
  | { name: "thread"; id: string }
  | { name: "board"; order: BoardOrder }
  | { name: "post"; id: string }
  | { name: "again"; query: string }
  | { name: "about" }
  | { name: "nowhere" };

export function viewOf(hash: string): View {
  const [path = "", ...query] = hash.replace(/^#/, "").split("?");
  const [, name = "", part = "", ...more] = path.split("/");
  const id = decoded(part);
  if (more.length > 0) return { name: "nowhere" };
  switch (name) {
    case "":
      return { name: "write" };
    case "threads":
    case "about":
      return part === "" ? { name } : { name: "nowhere" };
    case "board":
      return part === "" || part === "best"
        ? { name: "board", order: part === "best" ? "best" : "recent" }
        : { name: "nowhere" };
    case "thread":
    case "post":
      return id === "" ? { name: "nowhere" } : { name, id };
    case "again":
      return { name: "again", query: query.join("?") };
    default:
      return { name: "nowhere" };
  }
}

export function hashOf(view: View): string {
  switch (view.name) {
    case "write":
    case "nowhere":
      return "#/";
    case "threads":
    case "about":
      return `#/${view.name}`;
    case "thread":
    case "post":
      return `#/${view.name}/${encodeURIComponent(view.id)}`;
    case "board":
      return view.order === "best" ? "#/board/best" : "#/board";
    case "again":
      return `#/again?${view.query}`;
  }
}

export const route = new Store<{ view: View }>({
  view: viewOf(typeof location === "undefined" ? "" : location.hash),
});

export function followAddress(): () => void {
  const follow = () => {
    route.set({ view: viewOf(location.hash) });
  };
  window.addEventListener("hashchange", follow);
  return () => {
    window.removeEventListener("hashchange", follow);
  };
}

export function go(view: View): void {
  location.hash = hashOf(view);
  route.set({ view });
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}
