/** Symbol.dispose for browsers that lack it (before Chrome 134, Firefox 135): imported before the library, which uses it. */
const symbols = Symbol as { dispose?: symbol };
symbols.dispose ??= Symbol.for("Symbol.dispose");
export {};
