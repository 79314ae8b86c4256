/** Lets events in between two steps of long computing: without, ctrl-C and progress would wait for its end. */
export const pause = (): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, 0);
  });
