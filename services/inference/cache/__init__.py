"""Answers that are given again: to the same question later (memory, Redis), and to the same question at once (flights).

```
answers.py    AnswerCache and Ticket: what the engine opens for each call
keys.py       which calls are the same
entries.py    an answer as it is kept
memory.py     answers in this process, bounded by bytes
flight.py     one call of a provider that several callers follow
shared.py     what replicas tell each other through Redis: answers, who leads a flight, its parts
leading.py    the flights that this process leads: their leases, and their parts for other replicas
following.py  a flight that another replica leads
```
"""
