import { useState } from "react";

import type { ModelInfo } from "../contract.ts";
import { useSpace } from "../space.ts";
import { useStore } from "../store.ts";
import { KNOBS, type KnobInfo, changed, ofSeed } from "../write/sampling.ts";
import { LARGEST_SEED, drawSeed, readSeed } from "../write/seeds.ts";

const STATES: Record<ModelInfo["state"], string> = {
  loaded: "ready",
  loading: "is being loaded",
  unloaded: "asleep: the first text takes a moment longer",
};

/** Which model writes, and the values it writes with: folded away, since it does well without. */
export function HowItWrites() {
  const space = useSpace();
  const { list } = useStore(space.models);
  const settings = useStore(space.settings);
  const model = list && space.model(list);
  const set = model ? Object.keys(changed(model.default_sampling, settings.sampling)).length : 0;
  const own = set + (settings.seed === null ? 0 : 1);
  return (
    <details className="how">
      <summary>
        How it writes
        {own > 0 && <span className="own">{own === 1 ? "1 value of yours" : `${own} values of yours`}</span>}
      </summary>
      {list === null || model === null ? (
        <p className="quiet">As soon as the service answers.</p>
      ) : (
        <div className="how-body">
          {list.length > 1 && <ModelChoice list={list} chosen={model} />}
          <div className="knobs">
            {KNOBS.map((info) => (
              <Knob key={info.knob} info={info} model={model} />
            ))}
            <SeedField key={settings.seed} />
          </div>
          <button
            type="button"
            className="act"
            disabled={own === 0}
            onClick={() => {
              space.settings.set({ sampling: {}, seed: null });
              space.say("The model’s own values hold again.");
            }}
          >
            Back to the model’s own values
          </button>
        </div>
      )}
    </details>
  );
}

function ModelChoice({ list, chosen }: { list: ModelInfo[]; chosen: ModelInfo }) {
  const space = useSpace();
  return (
    <fieldset className="models">
      <legend>Which model writes</legend>
      {list.map((model) => (
        <label key={model.name}>
          <input
            type="radio"
            name="model"
            checked={model.name === chosen.name}
            onChange={() => {
              space.settings.set({ model: model.default ? null : model.name });
            }}
          />
          <span>
            <b>{model.name}</b> <span className="quiet">({STATES[model.state]})</span>
            <br />
            {model.description}
          </span>
        </label>
      ))}
    </fieldset>
  );
}

function Knob({ info, model }: { info: KnobInfo; model: ModelInfo }) {
  const space = useSpace();
  const { sampling } = useStore(space.settings);
  const value = space.sampling(model)[info.knob];
  const id = `knob-${info.knob}`;
  const most = info.knob === "max_new_tokens" ? Math.min(info.most, model.context_length) : info.most;
  return (
    <div className="knob">
      <label htmlFor={id}>{info.label}</label>
      <output htmlFor={id}>{value}</output>
      <input
        id={id}
        type="range"
        min={info.least}
        max={most}
        step={info.step}
        value={value}
        aria-describedby={`${id}-words`}
        aria-valuetext={`${value}: ${info.inWords(value)}`}
        onChange={(event) => {
          const next = { ...sampling, [info.knob]: Number(event.target.value) };
          space.settings.set({ sampling: changed(model.default_sampling, next) });
        }}
      />
      <p id={`${id}-words`}>{info.inWords(value)}</p>
    </div>
  );
}

function SeedField() {
  const space = useSpace();
  const { seed } = useStore(space.settings);
  const [typed, setTyped] = useState(seed === null ? "" : String(seed));
  const read = readSeed(typed);
  return (
    <div className="knob">
      <label htmlFor="knob-seed">Seed</label>
      <span className="seed">
        <input
          id="knob-seed"
          inputMode="numeric"
          placeholder="new each time"
          value={typed}
          aria-invalid={read === undefined}
          aria-describedby="knob-seed-words"
          onChange={(event) => {
            setTyped(event.target.value);
          }}
          onBlur={() => {
            if (read !== undefined) space.settings.set({ seed: read });
          }}
          onKeyDown={(event) => {
            if (event.key === "Enter" && read !== undefined) space.settings.set({ seed: read });
          }}
        />
        <button
          type="button"
          className="act"
          onClick={() => {
            space.settings.set({ seed: drawSeed() });
          }}
        >
          Draw one
        </button>
      </span>
      <p id="knob-seed-words">
        {read === undefined ? `a whole number from 0 to ${LARGEST_SEED.toLocaleString("en")}` : ofSeed(read)}
      </p>
    </div>
  );
}
