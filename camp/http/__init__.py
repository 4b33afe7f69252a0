"""What every route shares: errors, headers, paging, limits, event streams."""
