"""How a training is fed, timed, saved and spread: for whoever asks how `fit` goes on, or trains on several machines."""
