/** How many images fit: plans' own count of memory, held against what a device really allocates. */
import { describe, expect, test } from "vitest";
import { fits, largestBatch, needsOf, type PlanNeeds } from "../../src/engine/fit.ts";
import { makePlan, type PlanRequest } from "../../src/engine/plan.ts";
import { Session } from "../../src/engine/session.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { exactNumbers, IMAGE, residualNetwork } from "./network.ts";

const { weights, fine, scales } = exactNumbers(3);
const network = residualNetwork(weights, fine, scales);

const request = (batch: number, gradient = true): PlanRequest => ({
  inputs: new Map([["image", [batch, ...IMAGE]]]),
  outputs: ["logits"],
  ...(gradient ? { gradient: { of: "logits", wrt: ["z1", "z3"] } } : {}),
});

describe("largestBatch", () => {
  const needs = (batch: number): PlanNeeds => ({ bytes: 100 + 10 * batch, largest: 3 * batch, workgroups: 2 * batch });
  const all: PlanNeeds = { bytes: Infinity, largest: Infinity, workgroups: Infinity };
  const found = (most: number, limits: Partial<PlanNeeds>): [number, number[]] => {
    const tried: number[] = [];
    const { batch, needs: of } = largestBatch(
      most,
      (n) => {
        tried.push(n);
        return needs(n);
      },
      { ...all, ...limits },
    );
    expect(of).toEqual(needs(batch));
    return [batch, tried];
  };

  test("is the most where that fits, to the byte", () => {
    expect(found(40, { bytes: 500 })).toEqual([40, [40]]);
    expect(found(40, { bytes: 499 })).toEqual([32, [40, 32]]);
    expect(found(64, { bytes: 739 })).toEqual([32, [64, 32]]);
  });

  test("heeds a buffer's and a dispatch's limits", () => {
    expect(found(64, { largest: 24 })[0]).toBe(8);
    expect(found(64, { workgroups: 9 })[0]).toBe(4);
  });

  test("is 1 where nothing fits, and says what that needs", () => {
    expect(found(5, { bytes: 50 })).toEqual([1, [5, 4, 2, 1]]);
    expect(fits(needs(1), { ...all, bytes: 50 })).toBe(false);
    expect(found(1, { bytes: 50 })).toEqual([1, [1]]);
  });
});

test("needs grow with the batch, by the activations alone", () => {
  const of = (batch: number): PlanNeeds => needsOf([[makePlan(network, request(batch))]]);
  const [one, two, four] = [of(16), of(32), of(64)];
  expect(two.bytes).toBeGreaterThan(one.bytes);
  expect(four.bytes - two.bytes).toBe(2 * (two.bytes - one.bytes));
  expect(of(64)).toEqual(four);
});

onAdapters("needs", (gpu) => {
  test("are the bytes that sessions allocate, the parameters of dispatches apart", async () => {
    const device = gpu();
    const step = device.device.limits.minUniformBufferOffsetAlignment;
    const before = device.allocatedBytes;
    using first = new Session(device, network);
    using second = new Session(device, network);
    const asked = [[request(3), request(3, false)], [request(2)]];
    const plans = asked.map((requests) => requests.map((r) => makePlan(network, r, device)));
    for (const r of asked[0] ?? []) await first.prepare(r);
    for (const r of asked[1] ?? []) await second.prepare(r);
    const parameters = plans.flat().reduce((bytes, plan) => bytes + step * plan.calls.length, 0);
    expect(device.allocatedBytes - before).toBe(needsOf(plans).bytes + parameters);
  });

  test("say of a plan whether this device takes it", () => {
    const device = gpu();
    const limits = { bytes: Infinity, largest: device.largestTensor, workgroups: device.mostWorkgroups };
    const needs = needsOf([[makePlan(network, request(2), device)]]);
    expect(fits(needs, limits)).toBe(true);
    expect(fits(needs, { ...limits, largest: needs.largest - 1 })).toBe(false);
    expect(fits(needs, { ...limits, workgroups: needs.workgroups - 1 })).toBe(false);
  });
});
