-- Members and service accounts of organisations; what API keys are restricted to. Only adds.
SELECT 1;
