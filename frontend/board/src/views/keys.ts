import { useEffect, useEffectEvent } from "react";

import { type Focus, commandFor } from "../keymap.ts";
import { go, route } from "../routes.ts";
import { useSpace } from "../space.ts";

/**
 * Keys press what is on the page: a command is whatever button has it as `data-command`, in the post at hand if it is
 * one for posts. So a key can do nothing that a button does not.
 */
export function useKeys(onHelp: () => void): void {
  const space = useSpace();
  const pressed = useEffectEvent((event: KeyboardEvent) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const command = commandFor(event, focusOf(event.target), space.settings.get().letters);
    // Elsewhere Enter is too easily pressed to take somebody away.
    if (command === "write" && event.key === "Enter" && route.get().view.name !== "write") return;
    switch (command) {
      case null:
        return;
      case "stop":
        if (!space.writer.busy) return;
        space.writer.stop();
        break;
      case "write":
        go({ name: "write" });
        void space.writeOne();
        break;
      case "roll":
        go({ name: "write" });
        void space.roll();
        break;
      case "home":
        go({ name: "write" });
        break;
      case "threads":
        go({ name: "threads" });
        break;
      case "board":
        go({ name: "board", order: "recent" });
        break;
      case "help":
        onHelp();
        break;
      case "next":
      case "previous":
        step(command === "next" ? 1 : -1, space.writer.state.get().key);
        break;
      case "retry":
      case "continue":
      case "good":
      case "bad":
      case "copy":
        postAtHand(space.writer.state.get().key)
          ?.querySelector<HTMLElement>(`[data-command="${command}"]`)
          ?.click();
    }
    event.preventDefault();
  });
  useEffect(() => {
    document.addEventListener("keydown", pressed);
    return () => {
      document.removeEventListener("keydown", pressed);
    };
  }, []);
}

function focusOf(target: EventTarget | null): Focus {
  if (!(target instanceof HTMLElement)) return "page";
  if (target.matches("textarea, select, input, [contenteditable]")) return "field";
  return target.matches("button, a[href], summary") ? "control" : "page";
}

/** The post that has the focus, else the one written last if it is shown, else the first. */
function postAtHand(newest: string | null): HTMLElement | null {
  const focused = document.activeElement?.closest<HTMLElement>("article.post");
  if (focused) return focused;
  const written = newest === null ? null : document.getElementById(`post-${newest}`);
  return written ?? document.querySelector<HTMLElement>("article.post[data-post]");
}

function step(by: number, newest: string | null): void {
  const posts = [...document.querySelectorAll<HTMLElement>("article.post[data-post]")];
  const focused = document.activeElement?.closest<HTMLElement>("article.post");
  const start = focused
    ? posts.indexOf(focused) + by
    : posts.findIndex((post) => post.id === `post-${newest ?? ""}`);
  const post = posts[Math.max(0, Math.min(posts.length - 1, start))];
  post?.focus();
  post?.scrollIntoView({ block: "nearest" });
}
