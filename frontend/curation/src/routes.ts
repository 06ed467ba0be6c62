/** Which view is shown: kept in the address behind `#`, so that a reload shows the same. */

import { type Filter, filterFromQuery, filterQuery } from "./filter.ts";
import { Store } from "./store.ts";

export type View =
  { name: "desk"; id: string | null } | { name: "list"; searching?: true } | { name: "history"; id: string };

export interface Route {
  view: View;
  filter: Filter;
}

export function routeFromHash(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#/, "").split("?");
  const [, name = "", id = ""] = path.split("/");
  return { view: viewOf(name, decoded(id)), filter: filterFromQuery(new URLSearchParams(query)) };
}

export function hashOf({ view, filter }: Route): string {
  const path =
    view.name === "history"
      ? `history/${encodeURIComponent(view.id)}`
      : view.name === "desk" && view.id !== null
        ? `row/${encodeURIComponent(view.id)}`
        : view.name === "list" && view.searching
          ? "list/search"
          : view.name;
  return `#/${path}?${new URLSearchParams(filterQuery(filter)).toString()}`;
}

export const route = new Store<Route>(routeFromHash(typeof location === "undefined" ? "" : location.hash));

export function followAddress(): () => void {
  const follow = () => {
    route.set(routeFromHash(location.hash));
  };
  window.addEventListener("hashchange", follow);
  follow(); // it may have changed while the page was loading
  return () => {
    window.removeEventListener("hashchange", follow);
  };
}

/** Goes to a view; the browser's Back leads back. */
export function go(view: View, filter: Filter = route.get().filter): void {
  location.hash = hashOf({ view, filter });
}

/** The same view shows something else now: the address follows without a step for Back. */
export function stay(view: View, filter: Filter = route.get().filter): void {
  window.history.replaceState(null, "", hashOf({ view, filter }));
  route.set({ view, filter });
}

function viewOf(name: string, id: string): View {
  if (name === "row" && id) return { name: "desk", id };
  if (name === "history" && id) return { name: "history", id };
  if (name === "list") return id === "search" ? { name: "list", searching: true } : { name: "list" };
  return { name: "desk", id: null };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}
