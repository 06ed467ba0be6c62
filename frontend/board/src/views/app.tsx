import { useEffect, useRef, useState } from "react";

import { followAddress, route } from "../routes.ts";
import { useSpace } from "../space.ts";
import { useStore } from "../store.ts";
import { AboutView } from "./about-view.tsx";
import { AgainView } from "./again-view.tsx";
import { Banners } from "./banners.tsx";
import { BoardView } from "./board-view.tsx";
import { Foot, Head } from "./frame.tsx";
import { Help } from "./help.tsx";
import { useKeys } from "./keys.ts";
import { KeptPostView } from "./kept-post-view.tsx";
import { Lightbar } from "./said.tsx";
import { ThreadView } from "./thread-view.tsx";
import { ThreadsView } from "./threads-view.tsx";
import { WriteView } from "./write-view.tsx";

/** Everything: head, the view that the address names, foot, and what is said. */
export function App() {
  const { view } = useStore(route);
  const [helping, setHelping] = useState(false);
  useEffect(() => followAddress(), []);
  const space = useSpace();
  useKeys(() => {
    setHelping(true);
  });
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  const place = "id" in view ? `${view.name}/${view.id}` : view.name;
  useEffect(() => {
    document.title = titleOf(view.name);
    // Who comes from another view is taken to the head of this one; who opens the page stays where browsers begin.
    if (!first.current) {
      space.say("");
      main.current?.focus({ preventScroll: true });
      window.scrollTo(0, 0);
    }
    first.current = false;
  }, [space, place, view.name]);
  return (
    <div className="frame">
      <a
        className="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        Skip to the texts
      </a>
      <Head
        view={view}
        onHelp={() => {
          setHelping(true);
        }}
      />
      <Banners />
      <main id="main" ref={main} tabIndex={-1}>
        <Shown />
      </main>
      <Foot view={view} />
      <Lightbar />
      {helping && (
        <Help
          onClose={() => {
            setHelping(false);
          }}
        />
      )}
    </div>
  );
}

function Shown() {
  const { view } = useStore(route);
  switch (view.name) {
    case "write":
      return <WriteView />;
    case "threads":
      return <ThreadsView />;
    case "thread":
      return <ThreadView key={view.id} id={view.id} />;
    case "board":
      return <BoardView key={view.order} order={view.order} />;
    case "post":
      return <KeptPostView key={view.id} id={view.id} />;
    case "again":
      return <AgainView key={view.query} query={view.query} />;
    case "about":
      return <AboutView />;
    case "nowhere":
      return (
        <section className="page-text">
          <h2>There is no such page</h2>
          <p>
            The address leads nowhere. <a href="#/">Write one instead</a>?
          </p>
        </section>
      );
  }
}

function titleOf(name: string): string {
  const titles: Record<string, string> = {
    threads: "Your threads",
    thread: "A thread",
    board: "The board",
    post: "A post",
    again: "A text for you",
    about: "About",
  };
  const title = titles[name];
  return `${title === undefined ? "" : `${title} - `}/wg/ - Wholesome Greentext`;
}
