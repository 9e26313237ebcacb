"""Risk checks, approvals, tokens, mandates, kill flags."""
