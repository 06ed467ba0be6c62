import { createContext, useContext } from "react";

import type { Workspace } from "./workspace.ts";

export const SpaceContext = createContext<Workspace | null>(null);

/** The workspace of whoever is signed in. */
export function useSpace(): Workspace {
  const space = useContext(SpaceContext);
  if (!space) throw new Error("shown without a workspace");
  return space;
}
