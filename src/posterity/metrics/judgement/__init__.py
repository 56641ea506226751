"""Judgement of methods: which is nearest, which errors do not tell apart, and what speaks against them."""
