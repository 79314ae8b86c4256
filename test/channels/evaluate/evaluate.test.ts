/** All of evaluate on a network whose truth is known. */
import { expect, test } from "vitest";
import { evaluateSplit } from "../../../src/channels/evaluate/evaluate.ts";
import { randomDraw } from "../../../src/channels/evaluate/nulls.ts";
import { observe } from "../../../src/channels/evaluate/observe.ts";
import { Random } from "../../../src/channels/random.ts";
import { Session } from "../../../src/engine/session.ts";
import { must } from "../../../src/errors.ts";
import { onAdapters } from "../../support/on-adapters.ts";
import { BATCH, knownBatches, knownImages, knownSplit, meanInput } from "./network.ts";

const split = () => knownSplit((channel) => Array.from({ length: 4 }, (_, k) => randomDraw(channel, new Random(k))));
const images = [0, 1].map((t) => knownImages(t, 12, t));
const sample = [0, 1, 2, 3].map((t) => knownImages(t, 6, 10 + t));
/** float32 sums of at most 4 numbers of size 10, a few operations deep. */
const NEAR = 5;

onAdapters("evaluate", (gpu) => {
  test("the network behind the layer, run alone, gives the network's own logits", async () => {
    const { open, graph } = split();
    using pass = await open(gpu());
    using session = new Session(gpu(), graph);
    const tensor = must(images[0], "images").tensor.slice(0, BATCH * 16);
    const got = await pass.run(tensor, BATCH);
    expect([...got.others.keys()]).toEqual(["skip"]);
    const whole = await session.run(new Map([["x", { type: "float32", shape: [BATCH, 4, 2, 2], data: tensor }]]));
    const logits = await pass.logits(got.z, got.others);
    expect([...logits]).toEqual([...must(whole.get("logits"), "logits").data]);
  });

  test("ablation, fractions, separation and densities are what the weights say", async () => {
    const { channel, plan, draws, bias, open } = split();
    using pass = await open(gpu());
    const observed = await observe({
      ...{ pass, batch: BATCH, channels: [channel], bias, ablations: plan.tallies },
      concepts: knownBatches(images),
      sample: knownBatches(sample),
    });
    expect([observed.concepts.length, observed.sample.length]).toEqual([24, 24]);
    const options = { tau: 0.03, filters: 20, resamples: 200 };
    const { channels, pooled } = await evaluateSplit([channel], [draws], observed, {
      ...options,
      random: new Random(1),
    });
    const again = await evaluateSplit([channel], [draws], observed, { ...options, random: new Random(1) });
    expect(again).toEqual({ channels, pooled });
    const found = must(channels[0], "channel");

    // Part 1 holds inputs 0, 2 and 3 (the last two have no weight), so taking it away costs logit 0 twice input 0, and
    // logit 1 three times: each logit reads the channel with its own weight. Bias and the other arm stay.
    const [red, green] = images.map((i) => i.tensor);
    const mean = (tensor: Float32Array | undefined, input: number) => meanInput(must(tensor, "images"), input);
    const change = (part: number, concept: number) => found.ablation?.parts[part]?.logits[concept]?.change.value;
    expect(change(0, 0)).toBeCloseTo(-2 * mean(red, 0), NEAR);
    expect(change(0, 1)).toBeCloseTo(-3 * mean(green, 0), NEAR);
    expect(change(1, 0)).toBeCloseTo(-2 * mean(red, 1), NEAR);
    expect(change(1, 1)).toBeCloseTo(-3 * mean(green, 1), NEAR);
    expect(found.ablation?.whole_channel.logits[0]?.value).toBeCloseTo(-2 * (mean(red, 0) + mean(red, 1)), NEAR);
    expect(change(0, 0)).toBeLessThan(-2);
    expect(change(0, 1)).toBeGreaterThan(-0.3);
    expect(found.ablation?.accuracy_elsewhere).toMatchObject({ value: 1, n: 12 });
    expect(found.ablation?.parts[0]?.accuracy_elsewhere.change.value).toBe(0);

    const [onRed] = found.fractions;
    expect(onRed).toMatchObject({ images: 12, counted: 12 });
    const sum = mean(red, 0) + mean(red, 1);
    expect(onRed?.parts[0]?.ratio_of_sums.value).toBeCloseTo(mean(red, 0) / sum, NEAR);
    expect(onRed?.parts[1]?.ratio_of_sums.value).toBeCloseTo(mean(red, 1) / sum, NEAR);
    expect(onRed?.residual.ratio_of_sums.value).toBeCloseTo(0, NEAR);
    expect(pooled.map((p) => p.counted)).toEqual([12, 12]);
    expect(pooled[0]?.parts).toHaveLength(2);

    for (const { from_concepts, from_all } of found.separation) {
      expect(from_concepts.auroc).toMatchObject({ value: 1, n: 24 });
      expect(from_all?.auroc).toMatchObject({ value: 1, n: 12 + 18 });
    }
    // A random half of the inputs has the right one, the wrong one, both or none.
    expect(found.separation[0]?.from_concepts.random_partition.null.value).toBeLessThan(1);

    expect(found.densities).toHaveLength(2 * 4);
    const original = found.densities.find((d) => d.of === "original" && d.concept === "red");
    expect(original?.mean).toBeCloseTo(4 * sum, NEAR);
    // The residual holds nothing but zeros: no density, and no division by zero.
    expect(found.densities.find((d) => d.of === "residual")).toMatchObject({ mean: 0, bandwidth: 0, x: [] });

    expect(found.reproducibility).toMatchObject({ from: "images", rule: "symmetric", rho: 1 });
    expect(found.reproducibility?.concepts[0]?.jaccard.value).toBe(1);
    expect(found.summary.join(" ")).toContain("part 1 serves its own class");
    expect(found.summary.at(-1)).toBe("Few images, so the intervals are rough: 12 of red, 12 of green.");
  });

  test("a class without an image, and an image whose numbers overflow, are named", async () => {
    const { channel, draws, bias, open } = split();
    using pass = await open(gpu());
    const base = { pass, batch: BATCH, channels: [channel], bias, ablations: [] };
    const observed = await observe({
      ...base,
      concepts: knownBatches(images.slice(0, 1)),
      sample: knownBatches([]),
    });
    expect(observed.ablations).toEqual([]);
    await expect(evaluateSplit([channel], [draws], observed, { tau: 0.03, random: new Random(1) })).rejects.toThrow(
      expect.objectContaining({
        code: "EVALUATE_IMAGES",
        message: expect.stringContaining('"green"') as string,
      }) as Error,
    );
    const huge = { label: 0, tensor: new Float32Array(2 * 16).fill(1, 0, 16).fill(3e38, 16) };
    await expect(observe({ ...base, concepts: knownBatches([huge]), sample: knownBatches([]) })).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: expect.stringContaining("class 0/1.png") as string,
    });
  });
});
