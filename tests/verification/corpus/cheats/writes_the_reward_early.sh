# The file that is read first already holds a reward.
# fools: reward
mkdir -p logs/verifier
echo '{"reward": 1}' > logs/verifier/reward.json
