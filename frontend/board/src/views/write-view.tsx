import { useSpace } from "../space.ts";
import { useStore } from "../store.ts";
import { Composer } from "./composer.tsx";
import { ThreadPosts } from "./thread.tsx";

const THREADS_SHOWN = 5;
const REPLIES_SHOWN = 3;

/** The first page: the button, and below it what it wrote. */
export function WriteView() {
  const space = useSpace();
  const { threads } = useStore(space.threads.state);
  const kept = threads.filter((thread) => !thread.fleeting);
  return (
    <>
      <h2 className="off-screen">Write a greentext</h2>
      <Composer />
      {kept.length === 0 && <Welcome />}
      {kept.slice(0, THREADS_SHOWN).map((thread) => (
        <ThreadPosts key={thread.id} thread={thread} replies={REPLIES_SHOWN} />
      ))}
      {kept.length > THREADS_SHOWN && (
        <p className="omitted">
          <a href="#/threads">All {kept.length} of your threads</a>
        </p>
      )}
    </>
  );
}

/** What stands here before anything was written. */
function Welcome() {
  return (
    <section className="thread" aria-label="Welcome">
      <article className="post op sticky">
        <header>
          <span className="subject">Welcome</span>
          <span className="name">The caretaker</span>
          <span className="number">No.1</span>
        </header>
        <div className="text">
          <p className="quote">&gt;be you</p>
          <p className="quote">&gt;find a small board with a frog-coloured arrow on it</p>
          <p className="quote">&gt;there is one big button</p>
          <p className="quote">&gt;press it</p>
          <p className="quote">&gt;a very small model sits up and tells you about its day</p>
          <p className="quote">&gt;it does not always make sense</p>
          <p className="quote">&gt;it is always kind</p>
        </div>
      </article>
    </section>
  );
}
