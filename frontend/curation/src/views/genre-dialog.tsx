import { Dialog } from "../parts/dialog.tsx";
import { useSpace } from "../space-context.ts";
import { useStore } from "../store.ts";

/** A digit picks a genre; it goes with the next decision. */
export function GenreDialog(props: {
  genre: string | null;
  onClose: () => void;
  onPick: (genre: string) => void;
}) {
  const { facets } = useStore(useSpace().state);
  const genres = facets?.genres_to_give ?? [];
  return (
    <Dialog
      title="Genre"
      onClose={props.onClose}
      onKeyDown={(event) => {
        const genre = /^[1-9]$/.test(event.key) ? genres[Number(event.key) - 1] : undefined;
        if (genre !== undefined) {
          event.preventDefault();
          props.onPick(genre);
        }
      }}
    >
      <div className="reasons">
        {genres.length === 0 && <p className="quiet">The genres come when the server answers.</p>}
        <ul>
          {genres.map((genre, index) => (
            <li key={genre}>
              <button
                type="button"
                data-first={index === 0 ? true : undefined}
                className={genre === props.genre ? "picked" : ""}
                aria-pressed={genre === props.genre}
                onClick={() => {
                  props.onPick(genre);
                }}
              >
                <kbd>{index + 1}</kbd> {genre}
              </button>
            </li>
          ))}
        </ul>
      </div>
    </Dialog>
  );
}
