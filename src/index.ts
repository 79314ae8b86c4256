/**
 * Unbraid as a library, for browsers and Node alike: nothing here needs `node:*` or a package of native code. A WebGPU
 * device comes from the caller (`Gpu.open(adapter)` or `Gpu.borrow(device)`); `unbraid/node` opens one in Node.
 *
 * @example
 * const adapter = await navigator.gpu.requestAdapter();
 * using gpu = await Gpu.open(adapter);
 * using session = new Session(gpu, buildGraph(decodeModel(bytes)));
 * const outputs = await session.run(new Map([["input", { type: "float32", shape: [1, 3, 224, 224], data }]]));
 */

export { EXIT_CODES, UnbraidError, type ErrorKind } from "./errors.ts";

// ONNX files: reading without loss, editing their own bytes.
export { decodeModel, externalLocations } from "./onnx/decode.ts";
export { editModel, freshName, type ModelEdits, type NewNode, type NewTensor, type NodeRename } from "./onnx/edit.ts";
export type {
  DataTypeName,
  ExternalReader,
  OnnxAttribute,
  OnnxModel,
  OnnxNode,
  OnnxSubgraph,
  OnnxTensor,
  OnnxValueInfo,
} from "./onnx/model.ts";

// The network as typed data, its Conv layers, and splitting them.
export { buildGraph, nodeNames } from "./graph/build.ts";
export { channelsFirst } from "./graph/channels-first.ts";
export { batchShape, classifierOf, type Classifier } from "./graph/classifier.ts";
export { assertSplittable, convLayers, findLayer, type ConvLayer } from "./graph/conv-layers.ts";
export type {
  AttributeValue,
  Branches,
  ElementType,
  Graph,
  GraphInput,
  GraphNode,
  HostTensor,
  InferRule,
  ShapedGraph,
  ValueInfo,
} from "./graph/graph.ts";
export { inlineBranches } from "./graph/branches.ts";
export { inferShapes, unsupportedNodes, type Unsupported } from "./graph/infer.ts";
export {
  splitLayer,
  type ChannelSplit,
  type LayerSplit,
  type SetSplit,
  type SplitPart,
  type SplitRequest,
  type WeightSplit,
} from "./graph/surgery.ts";
/** The table that `inferShapes` and `unsupportedNodes` take: every operator that is implemented. */
export { inferRule } from "./kernels/table.ts";

// Running networks, forward and backward.
export { Executable } from "./engine/executable.ts";
export { fits, largestBatch, needsOf, type PlanNeeds } from "./engine/fit.ts";
export {
  gradientName,
  makePlan,
  seedName,
  type Beside,
  type Extension,
  type Plan,
  type PlanRequest,
} from "./engine/plan.ts";
export { Session } from "./engine/session.ts";
export { tunedCode, Tuner, type TunerOptions } from "./engine/tuner.ts";
export { attachTuner, type PlanTuner } from "./engine/tuners.ts";
export { TileTable, type TileRecord } from "./kernels/tile-table.ts";
export { countNonFinite } from "./engine/finite.ts";
export { f16 } from "./engine/halves.ts";
export type { Precision } from "./engine/precision.ts";
export { Gpu, type Helpers } from "./gpu/gpu.ts";

// Attributions: what in an image a channel, or a part of one, answers to, as heat maps.
export {
  AttributionPass,
  type AttributionPassOptions,
  type ChannelGradients,
  type ExplainedChannel,
  type ResponsePlace,
} from "./relevance/attribution-pass.ts";
export {
  ATTRIBUTION_METHODS,
  attribute,
  attributeWith,
  channelSums,
  heatMaps,
  type Attribution,
  type AttributionMethod,
  type AttributionRequest,
} from "./relevance/attribution.ts";
export type { Completeness } from "./relevance/integrated-gradients.ts";
export { logitWeights, type LogitWeightsOptions } from "./relevance/logit-weights.ts";
export { blurred, drawHeatFigure, heatScale, type HeatFigure, type HeatMap } from "./images/heat-figure.ts";

// Studies: relevance, importance and average relevance vectors over many images.
export { AverageRelevance, meanTapSums, relevanceVector, type ArvForm } from "./relevance/arv.ts";
export { hexDigest, listDigest, type ListedImage } from "./relevance/digest.ts";
export { DEFAULT_FOLDS, evidenceFolds, foldOf, foldsOf, MAX_FOLDS, type EvidenceFolds } from "./relevance/folds.ts";
export { addSet, assertSameSet, assertSameStudy, assertStudyMatches, mergeSets } from "./relevance/merge.ts";
export {
  RelevancePass,
  relevanceRequest,
  type LayerResult,
  type PassOptions,
  type PassResult,
  type StudiedLayer,
} from "./relevance/pass.ts";
export { runStudy, type ImageBatch, type StudyProgress, type StudyRun } from "./relevance/run-study.ts";
export { decodeStudy, encodeStudy, STUDY_FORMAT_VERSION, studiesEqual } from "./relevance/study-file.ts";
export { createSet, firstOf, selectLayer, type CommonMeta, type StudySet } from "./relevance/study-set.ts";
export { studyLayer } from "./relevance/study-layer.ts";
export {
  accumulate,
  accumulateSet,
  type BatchImages,
  type LayerBatch,
  type StudyBatch,
} from "./relevance/accumulate.ts";
export {
  accumulatorBytes,
  countsOf,
  createStudy,
  imagesOf,
  isComplete,
  tapSumsOf,
  type SkippedImage,
  type Study,
  type StudyLayer,
  type StudyMeta,
} from "./relevance/study.ts";

// Polysemantic channels: finding, splitting, verifying.
export type { Significance } from "./channels/calibrate.ts";
export { findPairs, type Decision, type Findings, type FindOptions, type Pair } from "./channels/find.ts";
export { pairsCsv, type LayerFindings } from "./channels/pairs-csv.ts";
export { clusterChannel, type ChannelClusters, type ImageCluster } from "./channels/clusters.ts";
export { TopImages, type RelevanceBatch, type TopImage } from "./channels/top-images.ts";
export { splitWeights, type Parts } from "./channels/parts.ts";
export { ResponsePass, type ResponseOptions } from "./channels/responses.ts";
export { chooseOfficialRho, chooseRho, RHOS, threeFolds, type Folds, type RhoChoice } from "./channels/rho.ts";
export {
  setsFromStudy,
  setsFromText,
  setsToText,
  sourceSets,
  type SetRule,
  type SetsRequest,
  type SourceSets,
} from "./channels/sets.ts";
export { guardsOf, type Guards } from "./channels/guards.ts";
export {
  conceptImages,
  openSecondPass,
  stageBatch,
  studyItems,
  type SecondPassOptions,
} from "./channels/second-pass.ts";
export { splitLayers, type SplitLayer } from "./channels/split-layers.ts";
export { splitRecords, type SplitPartRecord, type SplitRecord } from "./channels/split-record.ts";
export {
  DEFAULT_RULE,
  planSplits,
  ROWS_AT_ONCE,
  SPLIT_RULES,
  type ClassImages,
  type Cluster,
  type PlannedSplit,
  type SplitPlanning,
  type SplitRule,
  type SplitTarget,
} from "./channels/split-run.ts";
export {
  guardSplits,
  writeSplit,
  type GuardedSplits,
  type SplitFiles,
  type SplitManifest,
  type WrittenSplit,
} from "./channels/write-split.ts";
export {
  additiveSplit,
  UnitFilters,
  type AdditiveOptions,
  type AdditiveRequest,
  type AdditiveSplit,
} from "./channels/additive.ts";
export { GroupMoments, MomentSums, type MomentBatch, type MomentOptions } from "./channels/moments.ts";
export { MomentPass, type MomentPassOptions } from "./channels/moments-pass.ts";
export { tune, tunedSplit, Tuning, type TuningOptions } from "./channels/tuned.ts";
export { makePlants, type PlantOptions } from "./channels/plants/make.ts";
export { decodePlants, encodePlants, truthOf, type Plant, type PlantFile } from "./channels/plants/plant.ts";
export { scorePlants, type Score, type ScoreRun } from "./channels/plants/score.ts";
export { planAblations, observe, type AblationPlan, type ObserveOptions } from "./channels/evaluate/observe.ts";
export { splitChannel, type RecordedSplit, type SplitChannel } from "./channels/evaluate/channel.ts";
export { density, type Density } from "./channels/evaluate/density.ts";
export { evaluateSplit, type EvaluationOptions } from "./channels/evaluate/evaluate.ts";
export type { ChannelEvaluation, Evaluation } from "./channels/evaluate/evaluation.ts";
export {
  hierarchyFromJson,
  hierarchyFromPairs,
  pathSimilarities,
  type Hierarchy,
} from "./channels/evaluate/hierarchy.ts";
export { Random } from "./channels/random.ts";
export type { Figure } from "./channels/statistics.ts";
export { randomDraw, randomFilter, type Draw } from "./channels/evaluate/nulls.ts";
export { EvaluationPass, type EvaluationPassOptions } from "./channels/evaluate/pass.ts";
export { linearRows, type LinearRows } from "./channels/evaluate/rows.ts";
export { candidatePairs, classSimilarity, type Similarity } from "./channels/evaluate/similarity.ts";
export { tailOf, type Tail } from "./channels/evaluate/tail.ts";
export { verify, type SecondOpinion, type Verification, type VerifyOptions } from "./channels/verify.ts";

// Preprocessing as torchvision does it, on pixels that are decoded already; a browser's decoder.
export { decodeImageInBrowser } from "./images/browser.ts";
export { preprocess, resizeCropRgb, resizedSize, type PreprocessSpec, type RgbImage } from "./images/preprocess.ts";
export {
  mergePreprocess,
  parsePreprocess,
  PRESETS,
  type PreprocessOptions,
  type PresetName,
} from "./images/presets.ts";

// The report: one HTML file, from numbers that any program may bring together.
export { assembleReport, type ReportRequest } from "./report/assemble.ts";
export { reportHtml } from "./report/html.ts";
export type { ReportData } from "./report/data.ts";
export type { PictureSource } from "./report/pictures.ts";
