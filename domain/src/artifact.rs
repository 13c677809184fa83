//! Artifacts: the files that a refit leaves.

use crate::network::words;

words!(
    /// What an artifact is; `docs/artifacts.md` says what each holds.
    ArtifactKind {
        /// The parameters.
        Weights = "weights",
        /// The network in words.
        Network = "network",
        /// The model's answers.
        Predictions = "predictions",
        /// How the parameters of each layer are distributed.
        WeightHistograms = "weight_histograms",
        /// Every neuron over the range of the only feature.
        ActivationProfiles = "activation_profiles",
        /// Every neuron for chosen inputs.
        Activations = "activations",
        /// How often which class was taken for which.
        ConfusionMatrix = "confusion_matrix",
        /// What the first convolution makes of some images.
        FeatureMaps = "feature_maps",
        /// Images that are taken for another class.
        Misclassified = "misclassified",
    }
);
