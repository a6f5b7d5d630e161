# The file that is read first holds a reward far above the highest.
# fools: reward
mkdir -p logs/verifier
echo '{"reward": 1e308}' > logs/verifier/reward.json
