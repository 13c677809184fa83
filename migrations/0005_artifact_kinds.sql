-- Refits leave more than their weights.
ALTER TABLE trawl_store.artifacts
    DROP CONSTRAINT artifacts_kind_check,
    ADD CONSTRAINT artifacts_kind_check CHECK (kind IN (
        'weights', 'network', 'predictions', 'weight_histograms', 'activation_profiles', 'activations', 'confusion_matrix',
        'feature_maps', 'misclassified'));
