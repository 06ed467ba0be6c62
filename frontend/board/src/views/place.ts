import { useMemo } from "react";

import { type Place, type Space, useSpace } from "../space.ts";

/** A post's place in a thread of this browser. */
export function usePlace(thread: string, key: string): Place {
  const space = useSpace();
  return useMemo(() => placeIn(space, thread, key), [space, thread, key]);
}

function placeIn(space: Space, thread: string, key: string): Place {
  return {
    thread,
    change: (fields) => {
      space.threads.change(thread, key, fields);
    },
    removed: () => {
      space.threads.removePost(thread, key);
    },
  };
}
