"""Monte Carlo methods: rejection, importance weights, tempered particles and Hamiltonian chains."""
