"""Sequential methods: filters and smoothers, one time of the record after another."""
