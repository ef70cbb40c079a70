"""What calls took and cost: journaled before the call, finalised whatever happens, kept by day, summed by hour."""
